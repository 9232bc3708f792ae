package ocispec

import (
	"strings"

	"clipper/node/runtime"
)

// labels returns the SELinux labels of a container's processes and of its files.
func labels(l *runtime.SELinux) (process, files string) {
	level := firstOf(l.Level, "s0")
	process = strings.Join([]string{firstOf(l.User, "system_u"), firstOf(l.Role, "system_r"), firstOf(l.Type, "container_t"), level}, ":")
	return process, "system_u:object_r:container_file_t:" + level
}
