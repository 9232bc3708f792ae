package ocispec

import (
	"slices"
	"testing"

	"clipper/node/runtime"
)

func TestAppArmorProfile(t *testing.T) {
	for _, tc := range []struct {
		wanted     string
		privileged bool
		loaded     []string
		want       string
		missing    bool
	}{
		{wanted: "", want: ""},
		{wanted: "RuntimeDefault", loaded: []string{"docker-default", "cri-containerd.apparmor.d"}, want: "cri-containerd.apparmor.d"},
		{wanted: "", loaded: []string{"clipper-default"}, want: "clipper-default"},
		{wanted: "Unconfined", loaded: []string{"clipper-default"}, want: ""},
		{wanted: "mine", loaded: []string{"mine"}, want: "mine"},
		{wanted: "localhost/mine", loaded: []string{"mine"}, want: "mine"},
		{wanted: "mine", missing: true},
		{wanted: "mine", privileged: true, want: ""},
	} {
		a := &AppArmor{Loaded: func(p string) bool { return slices.Contains(tc.loaded, p) }}
		got, err := a.profile(&runtime.Security{AppArmor: tc.wanted, Privileged: tc.privileged})
		if got != tc.want || (err != nil) != tc.missing {
			t.Errorf("%q with %v: got %q, %v", tc.wanted, tc.loaded, got, err)
		}
	}
}
