package volume

import (
	"cmp"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"

	"clipper/node/kubeletdir"
)

// hostPath returns the path of the host that s is, nil if it is something else.
func hostPath(s *source) *corev1.HostPathVolumeSource {
	if s.pv != nil {
		return s.pv.Spec.HostPath
	}
	return s.volume.HostPath
}

// systemLogs is where pods look for the logs of a node.
const systemLogs = "/var/log"

// host returns where a path that a pod names is on this machine.
func (m *Manager) host(path string) string {
	return kubeletdir.Move(m.cfg.RootDir.Host(path), systemLogs, cmp.Or(m.cfg.LogDir, systemLogs))
}

// checkHostPath applies a hostPath's type: what must be there, and what is made.
func checkHostPath(path string, t *corev1.HostPathType) error {
	kind := corev1.HostPathUnset
	if t != nil {
		kind = *t
	}
	switch kind {
	case corev1.HostPathUnset:
		return nil
	case corev1.HostPathDirectoryOrCreate:
		if err := os.MkdirAll(path, 0o755); err != nil {
			return fmt.Errorf("hostPath type check failed: %s is not a directory", path)
		}
		return nil
	case corev1.HostPathFileOrCreate:
		if err := touch(path); err != nil {
			return fmt.Errorf("hostPath type check failed: %s is not a file", path)
		}
		kind = corev1.HostPathFile
	}
	info, err := os.Stat(path)
	check := map[corev1.HostPathType]struct {
		what string
		is   func(os.FileMode) bool
	}{
		corev1.HostPathDirectory: {"directory", os.FileMode.IsDir},
		corev1.HostPathFile:      {"file", os.FileMode.IsRegular},
		corev1.HostPathSocket:    {"socket file", func(m os.FileMode) bool { return m&os.ModeSocket != 0 }},
		corev1.HostPathCharDev:   {"character device", func(m os.FileMode) bool { return m&os.ModeCharDevice != 0 }},
		corev1.HostPathBlockDev:  {"block device", func(m os.FileMode) bool { return m&os.ModeDevice != 0 && m&os.ModeCharDevice == 0 }},
	}[kind]
	if check.is == nil {
		return fmt.Errorf("%s is an invalid volume type", kind)
	}
	if err != nil || !check.is(info.Mode()) {
		return fmt.Errorf("hostPath type check failed: %s is not a %s", path, check.what)
	}
	return nil
}

// touch makes an empty file unless something is there: to open that might take for ever, were it a pipe.
func touch(path string) error {
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
