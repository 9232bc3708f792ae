// Package manifests reads static pods: pods that a node runs because a file in a folder says so, with or
// without an API server. It watches the folder and tells what should run; running it is the agent's work.
package manifests

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Annotations that mark static pods and the mirrors that show them in the API.
const (
	SourceAnnotation = "kubernetes.io/config.source"
	SeenAnnotation   = "kubernetes.io/config.seen"
	HashAnnotation   = "kubernetes.io/config.hash"
	FileSource       = "file"
	URLSource        = "http"
)

// maxFile bounds a manifest.
const maxFile = 10 << 20

// IsStatic reports whether a pod comes from a file or a URL rather than from the API.
func IsStatic(p *corev1.Pod) bool {
	source := p.Annotations[SourceAnnotation]
	return source == FileSource || source == URLSource
}

// IsMirror reports whether a pod in the API shows a static pod.
func IsMirror(p *corev1.Pod) bool { _, ok := p.Annotations[corev1.MirrorPodAnnotationKey]; return ok }

// Mirror returns the API object that shows a static pod. owner is the node's UID.
func Mirror(p *corev1.Pod, owner types.UID) *corev1.Pod {
	m := p.DeepCopy()
	m.UID, m.ResourceVersion, m.Status = "", "", corev1.PodStatus{}
	m.Annotations[corev1.MirrorPodAnnotationKey] = string(p.UID)
	yes := true
	m.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: p.Spec.NodeName, UID: owner, Controller: &yes}}
	return m
}

// Read returns the pods of a folder's files, by UID. A file that is no pod is reported and left out.
func Read(dir, node string) map[types.UID]*corev1.Pod {
	out := map[types.UID]*corev1.Pod{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			slog.Warn("Reading the folder of static pods failed", "dir", dir, "err", err)
		}
		return out
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || e.IsDir() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		p, err := readFile(path, node)
		if err != nil {
			slog.Error("A static pod's manifest cannot be used", "file", path, "err", err)
			continue
		}
		out[p.UID] = p
	}
	return out
}

func readFile(path, node string) (*corev1.Pod, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%d bytes are too many for a manifest", info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(data, "host:"+node+"\nfile:"+path, FileSource, node)
}

// Watch calls changed whenever something in the folder may have changed, until ctx ends. The folder need
// not be there yet.
func Watch(ctx context.Context, dir string, changed func()) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder for static pods: %w", err)
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	defer f.Close()
	mask := uint32(unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_CREATE)
	if _, err := unix.InotifyAddWatch(fd, dir, mask); err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	changed() // what was there, or came before the watch stood
	buf := make([]byte, 8<<10)
	for {
		if _, err := f.Read(buf); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("watch %s: %w", dir, err)
		}
		changed()
	}
}
