package ocispec

import (
	"testing"

	"clipper/node/runtime"
)

func TestSELinuxLabels(t *testing.T) {
	for _, tc := range []struct {
		options        *runtime.SELinux
		present        bool
		process, files string
	}{
		{nil, true, "", ""},
		{&runtime.SELinux{Level: "s0:c1,c2"}, false, "", ""},
		{&runtime.SELinux{Level: "s0:c1,c2"}, true, "system_u:system_r:container_t:s0:c1,c2", "system_u:object_r:container_file_t:s0:c1,c2"},
		{&runtime.SELinux{User: "u", Role: "r", Type: "spc_t"}, true, "u:r:spc_t:s0", "system_u:object_r:container_file_t:s0"},
	} {
		spec := build(t, runtime.Container{Security: runtime.Security{SELinux: tc.options}}, Sandbox{SELinux: tc.present})
		if spec.Process.SelinuxLabel != tc.process || spec.Linux.MountLabel != tc.files {
			t.Errorf("%+v, present %v: %q and %q", tc.options, tc.present, spec.Process.SelinuxLabel, spec.Linux.MountLabel)
		}
	}
}
