package node

import (
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"clipper/api/containers"
	"clipper/image/reference"
	"clipper/node/imagegc"
)

// imagesDir is where images lie, as far as the node knows: with what it keeps itself, unless there is a place
// for them.
func (a *Agent) imagesDir() string {
	dir := filepath.Join(a.opts.DataDir, "images")
	if _, err := os.Stat(dir); err != nil {
		return a.opts.DataDir
	}
	return dir
}

func (a *Agent) openImageCollector() *imagegc.Collector {
	c := a.opts.Config
	return imagegc.New(imagegc.Config{
		Images: a.opts.Images, Dir: a.imagesDir(), InUse: a.imagesInUse,
		High: int(*c.ImageGCHighThresholdPercent), Low: int(*c.ImageGCLowThresholdPercent),
		MinAge: c.ImageMinimumGCAge.Duration, MaxAge: c.ImageMaximumGCAge.Duration,
		Event: func(reason, message string) { a.nodeEvent(corev1.EventTypeWarning, reason, "%s", message) },
	})
}

// imagesInUse returns what the pods of this node name and what their containers run.
func (a *Agent) imagesInUse() map[string]bool {
	out := map[string]bool{}
	for _, p := range a.pods() {
		obj, st := p.Status()
		for _, name := range imagesOf(&obj.Spec) {
			if ref, err := reference.Parse(name); err == nil {
				out[ref.String()] = true
			}
		}
		for s := range containers.Statuses(&st) {
			out[s.ImageID] = true
		}
	}
	return out
}

// imagesOf lists what a pod names: its containers' images, and those that are volumes.
func imagesOf(spec *corev1.PodSpec) []string {
	var out []string
	for c := range containers.All(spec) {
		out = append(out, c.Image)
	}
	for i := range spec.Volumes {
		if v := spec.Volumes[i].Image; v != nil {
			out = append(out, v.Reference)
		}
	}
	return out
}
