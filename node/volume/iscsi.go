package volume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/mount-utils"
	utilexec "k8s.io/utils/exec"

	"clipper/api"
	"clipper/mountpoint"
)

// iscsiMounts is where iSCSI disks are mounted, once for all pods; upstream's place.
const iscsiMounts = "plugins/kubernetes.io/iscsi"

// A lun is an iSCSI disk. It is written down beside its mount, for taking it down needs to know it.
type lun struct {
	Portals   []string
	IQN       string
	Number    int32
	Interface string

	links                    string // where udev shows disks by the ways to them
	fsType                   string
	readOnly                 bool
	options                  []string
	chapDiscovery, chapLogin bool
	secret                   *corev1.SecretReference
}

// iscsi returns the disk that s is, nil if it is something else.
func (m *Manager) iscsi(pod *corev1.Pod, s *source) *lun {
	switch {
	case s.pv != nil && s.pv.Spec.ISCSI != nil:
		v := s.pv.Spec.ISCSI
		l := &lun{links: m.diskLinks, Portals: portals(v.TargetPortal, v.Portals), IQN: v.IQN, Number: v.Lun, Interface: v.ISCSIInterface, fsType: v.FSType,
			readOnly: s.readOnly, options: s.pv.Spec.MountOptions, chapDiscovery: v.DiscoveryCHAPAuth, chapLogin: v.SessionCHAPAuth, secret: v.SecretRef}
		if l.secret != nil && l.secret.Namespace == "" {
			l.secret = &corev1.SecretReference{Namespace: pod.Namespace, Name: l.secret.Name}
		}
		return l
	case s.pv == nil && s.volume.ISCSI != nil:
		v := s.volume.ISCSI
		l := &lun{links: m.diskLinks, Portals: portals(v.TargetPortal, v.Portals), IQN: v.IQN, Number: v.Lun, Interface: v.ISCSIInterface, fsType: v.FSType,
			readOnly: v.ReadOnly, chapDiscovery: v.DiscoveryCHAPAuth, chapLogin: v.SessionCHAPAuth}
		if v.SecretRef != nil {
			l.secret = &corev1.SecretReference{Namespace: pod.Namespace, Name: v.SecretRef.Name}
		}
		return l
	}
	return nil
}

// portals returns all ways to a target, each with its port.
func portals(first string, more []string) []string {
	var out []string
	for _, p := range append([]string{first}, more...) {
		if _, _, err := net.SplitHostPort(p); err != nil {
			p = net.JoinHostPort(strings.Trim(p, "[]"), "3260")
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// name tells the disk from others, also as the name of a file.
func (l *lun) name() string {
	return fmt.Sprintf("%s-%s-lun-%d", l.Portals[0], strings.ReplaceAll(l.IQN, "/", "~"), l.Number)
}

func (m *Manager) iscsiMount(l *lun) string {
	return m.cfg.RootDir.Join(iscsiMounts, "iface-"+l.Interface, l.name())
}

func iscsiKey(l *lun) corev1.UniqueVolumeName {
	return corev1.UniqueVolumeName("kubernetes.io/iscsi/" + l.name())
}

// mountISCSI logs in to the target by the system's tools and, unless a container gets the device, mounts the disk.
func (m *Manager) mountISCSI(ctx context.Context, pod *corev1.Pod, s *source, l *lun) error {
	d := m.use(iscsiKey(l), pod.UID, func(ctx context.Context) error { return m.dropISCSI(ctx, l) })
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.staged {
		return nil
	}
	secret, err := m.chap(ctx, l)
	if err != nil {
		return fmt.Errorf("MountVolume.NewMounter initialization failed for volume %q : %w", s.name(), err)
	}
	dir := m.iscsiMount(l)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	if err := writeLUN(dir+".json", l); err != nil {
		return err
	}
	if err := l.login(ctx, secret); err != nil {
		return fmt.Errorf("MountVolume.WaitForAttach failed for volume %q : failed to get any path for iscsi disk, last err seen:\n%w", s.name(), err)
	}
	if !s.block() {
		if err := m.mountDisk(ctx, l, dir); err != nil {
			return fmt.Errorf("MountVolume.MountDevice failed for volume %q : %w", s.name(), err)
		}
		if !l.readOnly {
			if err := m.ownVolume(ctx, pod, s.name(), dir); err != nil {
				return setUpFailed(s.name(), err)
			}
		}
	}
	d.staged = true
	return nil
}

func (m *Manager) mountDisk(ctx context.Context, l *lun, dir string) error {
	if mounted, err := mountpoint.Is(dir); err != nil || mounted {
		return err
	}
	device, err := l.device()
	if err != nil {
		return err
	}
	options := slices.Clone(l.options)
	if l.readOnly {
		options = append(options, "ro")
	}
	fsType := l.fsType
	if fsType == "" {
		fsType = "ext4"
	}
	return m.guard.do(ctx, dir, func() error {
		return mount.NewSafeFormatAndMount(mount.NewWithoutSystemd(""), utilexec.New()).FormatAndMount(device, dir, fsType, options)
	})
}

// chap returns the names and passwords for the target.
func (m *Manager) chap(ctx context.Context, l *lun) (map[string][]byte, error) {
	if !l.chapDiscovery && !l.chapLogin || l.secret == nil {
		return nil, nil
	}
	s, err := api.Secrets.Get(ctx, m.cfg.Client, l.secret.Namespace, l.secret.Name)
	if err != nil {
		return nil, fmt.Errorf("couldn't get secret %v/%v err: %w", l.secret.Namespace, l.secret.Name, err)
	}
	return s.Data, nil
}

// dropISCSI unmounts a disk, and logs out if it was the last of its target.
func (m *Manager) dropISCSI(ctx context.Context, l *lun) error {
	dir := m.iscsiMount(l)
	if err := m.guard.do(ctx, dir, func() error { return mountpoint.RemoveTree(dir) }); err != nil {
		return err
	}
	if !m.othersOfTarget(l) {
		if err := l.logout(ctx); err != nil {
			return fmt.Errorf("iscsi: failed to detach disk: %w", err)
		}
	}
	if err := os.Remove(dir + ".json"); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// othersOfTarget reports whether other disks of the same target are known.
func (m *Manager) othersOfTarget(l *lun) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	infix := "-" + strings.ReplaceAll(l.IQN, "/", "~") + "-lun-"
	for name := range m.devices {
		if name != iscsiKey(l) && strings.HasPrefix(string(name), "kubernetes.io/iscsi/") && strings.Contains(string(name), infix) {
			return true
		}
	}
	return false
}

func writeLUN(path string, l *lun) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// recallISCSI learns which disks an earlier agent has logged in to.
func (m *Manager) recallISCSI() error {
	files, err := filepath.Glob(m.cfg.RootDir.Join(iscsiMounts, "*", "*.json"))
	if err != nil {
		return err
	}
	for _, f := range files {
		l, err := readLUN(f)
		if err != nil {
			return err
		}
		m.use(iscsiKey(l), "", func(ctx context.Context) error { return m.dropISCSI(ctx, l) })
	}
	return nil
}

func readLUN(path string) (*lun, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseLUN(b)
}

func parseLUN(b []byte) (*lun, error) {
	l := &lun{}
	if err := json.Unmarshal(b, l); err != nil {
		return nil, fmt.Errorf("read what an iSCSI volume was: %w", err)
	}
	if len(l.Portals) == 0 || l.IQN == "" || l.Number < 0 || strings.ContainsAny(l.Portals[0]+l.Interface, "/\x00") {
		return nil, errors.New("read what an iSCSI volume was: no target is named, or one that cannot be: lun " + strconv.Itoa(int(l.Number)))
	}
	return l, nil
}
