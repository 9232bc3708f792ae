package embedded

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"clipper/node/runtime"
	"clipper/node/userns"
)

// Features implements runtime.FeatureTeller.
func (r *Runtime) Features(context.Context) (runtime.Features, error) {
	return runtime.Features{
		SupplementalGroupsPolicy: true,
		Handlers:                 []runtime.Handler{{RecursiveReadOnlyMounts: hasMountSetattr(), UserNamespaces: userns.Supported()}},
	}, nil
}

// hasMountSetattr reports whether the kernel can change all mounts of a tree at once, which recursive read-only
// mounts need. Asking for it on no file at all does nothing.
func hasMountSetattr() bool {
	err := unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{})
	return !errors.Is(err, unix.ENOSYS)
}
