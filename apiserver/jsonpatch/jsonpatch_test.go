package jsonpatch

import (
	"testing"

	"gopkg.in/evanphx/json-patch.v4"
)

func TestApply(t *testing.T) {
	for _, tt := range []struct {
		patch, want string
		ok          bool
	}{
		{`[{"op":"add","path":"/b","value":1}]`, `{"a":{},"b":1}`, true},
		{`[{"op":"remove","path":"/b"}]`, "", false},
		{`[{"op":"replace","path":""}]`, "", false},
	} {
		patch, err := jsonpatch.DecodePatch([]byte(tt.patch))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Apply(patch, []byte(`{"a":{}}`))
		if (err == nil) != tt.ok || string(got) != tt.want {
			t.Errorf("%s: %s, %v", tt.patch, got, err)
		}
	}
}
