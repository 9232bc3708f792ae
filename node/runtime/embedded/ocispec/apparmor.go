package ocispec

import (
	"fmt"
	"strings"

	"clipper/node/runtime"
)

// An AppArmor says which profiles the kernel has loaded.
type AppArmor struct {
	Loaded func(profile string) bool
}

// defaultProfiles are what RuntimeDefault may mean, the first that is loaded: the machine's owner loads it, as the
// packages of other runtimes do.
var defaultProfiles = []string{"clipper-default", "cri-containerd.apparmor.d", "docker-default"}

// profile returns the profile of a container, "" for none. One of the pod's own choice must be there.
func (a *AppArmor) profile(sec *runtime.Security) (string, error) {
	name := strings.TrimPrefix(sec.AppArmor, "localhost/")
	switch {
	case sec.Privileged, strings.EqualFold(name, "unconfined"):
		return "", nil
	case name == "" || name == "RuntimeDefault" || name == "runtime/default":
		for _, p := range defaultProfiles {
			if a.Loaded(p) {
				return p, nil
			}
		}
		return "", nil
	case !a.Loaded(name):
		return "", fmt.Errorf("apparmor profile not found %s", name)
	}
	return name, nil
}
