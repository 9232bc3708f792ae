// Package manifests reads static pods: pods that a node runs because a file in a folder says so, with or
// without an API server. It watches the folder and tells what should run; running it is the agent's work.
package manifests

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes/scheme"

	"clipper/catalogue/core/pod"
)

// Annotations that mark static pods and the mirrors that show them in the API.
const (
	SourceAnnotation = "kubernetes.io/config.source"
	SeenAnnotation   = "kubernetes.io/config.seen"
	HashAnnotation   = "kubernetes.io/config.hash"
	FileSource       = "file"
)

// maxFile bounds a manifest.
const maxFile = 10 << 20

// IsStatic reports whether a pod comes from a file rather than from the API.
func IsStatic(p *corev1.Pod) bool { return p.Annotations[SourceAnnotation] == FileSource }

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
	return Parse(data, path, node)
}

// Parse turns a manifest into the pod that node runs for it: named after the node, identified by what the
// file says and where it lies.
func Parse(data []byte, path, node string) (*corev1.Pod, error) {
	obj, _, err := scheme.Codecs.UniversalDeserializer().Decode(data, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("read as an API object: %w", err)
	}
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("it is a %s, not a Pod", obj.GetObjectKind().GroupVersionKind().Kind)
	}
	if p.Name == "" || len(validation.IsDNS1123Subdomain(p.Name)) > 0 {
		return nil, fmt.Errorf("metadata.name %q is not a valid name", p.Name)
	}
	if len(p.Spec.Containers) == 0 {
		return nil, errors.New("spec.containers is empty")
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "host:%s\nfile:%s\n", node, path)
	sum.Write(data)
	hash := hex.EncodeToString(sum.Sum(nil)[:16])
	p.UID = types.UID(hash)
	p.Name += "-" + strings.ToLower(node)
	if p.Namespace == "" {
		p.Namespace = corev1.NamespaceDefault
	}
	p.Spec.NodeName = node
	annotations := maps.Clone(p.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[SourceAnnotation], annotations[HashAnnotation] = FileSource, hash
	annotations[SeenAnnotation] = time.Now().Format(time.RFC3339Nano)
	p.Annotations = annotations
	// A pod of the node must not be driven off by the node's own troubles.
	p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})
	pod.Resource().Default(p)
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: pod.QOS(p)}
	p.Generation = 1
	return p, nil
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
