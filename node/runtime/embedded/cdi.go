package embedded

import (
	"errors"
	"fmt"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"
)

// cdiDirs are where the vendors of devices describe them. As containerd has it.
var cdiDirs = []string{"/etc/cdi", "/var/run/cdi"}

// cdiCache reads the descriptions when a container first asks for such a device, and anew for each later one: there
// are few, and nobody has to watch for changes.
var cdiCache = sync.OnceValues(func() (*cdi.Cache, error) {
	return cdi.NewCache(cdi.WithSpecDirs(cdiDirs...), cdi.WithAutoRefresh(false))
})

// injectCDI changes a container's specification as the descriptions of its devices say: nodes, mounts, variables,
// hooks.
func injectCDI(spec *specs.Spec, devices []string) error {
	if len(devices) == 0 {
		return nil
	}
	cache, err := cdiCache()
	if err != nil {
		return fmt.Errorf("read CDI descriptions: %w", err)
	}
	refreshed := cache.Refresh() // one file that is broken does not matter to the others
	if _, err := cache.InjectDevices(spec, devices...); err != nil {
		return fmt.Errorf("CDI device injection failed: %w", errors.Join(err, refreshed))
	}
	return nil
}
