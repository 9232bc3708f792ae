package daemon

import (
	"fmt"
	"strings"
	"testing"
)

func TestOverrides(t *testing.T) {
	got, err := parseOverrides([]string{"/events#https://b:1;https://a:1", "apps/deployments#https://c:1", "/pods#https://a:1;https://b:1", "example.com/none#https://d:1"})
	if err != nil {
		t.Fatal(err)
	}
	const want = "[{[https://a:1 https://b:1] [events pods]} {[https://c:1] [deployments]}]"
	if text := fmt.Sprint(apartments(got)); text != want {
		t.Errorf("%s, want %s", text, want)
	}
}

// TestOverrideFaults: what is no list of overrides, and what they do not go with.
func TestOverrideFaults(t *testing.T) {
	const format = "--etcd-servers-overrides invalid, must be of format: group/resource#servers, where servers are URLs, semicolon separated"
	for text, want := range map[string]string{
		"events#https://a:1": format, "/events": format, "a/b/c#https://a:1": format, "/events#https://a:1;": format, "/events#": format, "/events#a#b": format,
		"/events#https://a:1": "goes with --etcd-servers",
	} {
		o := defaultDatastore()
		o.Overrides = []string{text}
		if err := o.complete(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	o := defaultDatastore()
	o.Servers, o.Overrides = []string{"https://a:1"}, []string{"/events#https://b:1"}
	if err := o.complete(); err != nil {
		t.Error(err)
	}
	o.ClusterEnd = true
	if err := o.complete(); err == nil {
		t.Error("the state is taken out of one etcd of two")
	}
}
