// Package iscsi makes disks of iSCSI targets appear on the node, and disappear, by the system's tools.
package iscsi

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// A LUN is an iSCSI disk, and how to reach it. What tells it from others is written down beside its mount: taking it down
// needs to know it.
type LUN struct {
	Portals   []string
	IQN       string
	Number    int32
	Interface string

	FSType   string                  `json:"-"`
	ReadOnly bool                    `json:"-"`
	Options  []string                `json:"-"` // of its mount
	Secret   *corev1.SecretReference `json:"-"` // with names and passwords; nil: none are needed

	links                    string // where udev shows disks by the ways to them
	chapDiscovery, chapLogin bool
}

// Of returns the disk that a pod's volume is, or that the persistent volume behind it is; nil if it is something else.
// links is the directory where udev shows disks by the ways to them.
func Of(links string, pod *corev1.Pod, v *corev1.Volume, pv *corev1.PersistentVolume, readOnly bool) *LUN {
	switch {
	case pv != nil && pv.Spec.ISCSI != nil:
		return ofPersistent(links, pod, pv, readOnly)
	case pv == nil && v.ISCSI != nil:
		return ofPod(links, pod, v.ISCSI)
	}
	return nil
}

func ofPersistent(links string, pod *corev1.Pod, pv *corev1.PersistentVolume, readOnly bool) *LUN {
	v := pv.Spec.ISCSI
	l := &LUN{links: links, Portals: portals(v.TargetPortal, v.Portals), IQN: v.IQN, Number: v.Lun, Interface: v.ISCSIInterface, FSType: v.FSType,
		ReadOnly: readOnly, Options: pv.Spec.MountOptions, chapDiscovery: v.DiscoveryCHAPAuth, chapLogin: v.SessionCHAPAuth}
	if ref := v.SecretRef; ref != nil {
		l.Secret = &corev1.SecretReference{Namespace: cmp.Or(ref.Namespace, pod.Namespace), Name: ref.Name}
	}
	return l.plain()
}

func ofPod(links string, pod *corev1.Pod, v *corev1.ISCSIVolumeSource) *LUN {
	l := &LUN{links: links, Portals: portals(v.TargetPortal, v.Portals), IQN: v.IQN, Number: v.Lun, Interface: v.ISCSIInterface, FSType: v.FSType,
		ReadOnly: v.ReadOnly, chapDiscovery: v.DiscoveryCHAPAuth, chapLogin: v.SessionCHAPAuth}
	if v.SecretRef != nil {
		l.Secret = &corev1.SecretReference{Namespace: pod.Namespace, Name: v.SecretRef.Name}
	}
	return l.plain()
}

// plain drops a secret that nobody asks for.
func (l *LUN) plain() *LUN {
	if !l.chapDiscovery && !l.chapLogin {
		l.Secret = nil
	}
	return l
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

// Name tells the disk from others, also as the name of a file.
func (l *LUN) Name() string {
	return fmt.Sprintf("%s-%s-lun-%d", l.Portals[0], strings.ReplaceAll(l.IQN, "/", "~"), l.Number)
}

// Write writes the disk down.
func (l *LUN) Write(path string) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// Read returns a disk that was written down.
func Read(path string) (*LUN, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parse(b)
}

func parse(b []byte) (*LUN, error) {
	l := &LUN{}
	if err := json.Unmarshal(b, l); err != nil {
		return nil, fmt.Errorf("read what an iSCSI volume was: %w", err)
	}
	if len(l.Portals) == 0 || l.IQN == "" || l.Number < 0 || strings.ContainsAny(l.Portals[0]+l.Interface, "/\x00") {
		return nil, errors.New("read what an iSCSI volume was: no target is named, or one that cannot be: lun " + strconv.Itoa(int(l.Number)))
	}
	return l, nil
}
