package measure

import (
	"context"
	"io"
	"time"

	"clipper/node/runtime"
)

// measured is a runtime whose operations are counted. Events are a stream, and not an operation.
type measured struct {
	runtime.Runtime
	m *Meter
}

// Features implements runtime.FeatureTeller for a runtime that does.
func (r measured) Features(ctx context.Context) (runtime.Features, error) {
	teller, ok := r.Runtime.(runtime.FeatureTeller)
	if !ok {
		return runtime.Features{}, nil
	}
	return teller.Features(ctx)
}

func (r measured) RunSandbox(ctx context.Context, s runtime.Sandbox) error {
	start, done := time.Now(), r.m.time("run_podsandbox")
	err := r.Runtime.RunSandbox(ctx, s)
	done(err)
	r.m.sandboxes.WithLabelValues(s.Handler).Observe(time.Since(start).Seconds())
	r.m.startedPods.Inc()
	if err != nil {
		r.m.sandboxErrors.WithLabelValues(s.Handler).Inc()
		r.m.failedPods.Inc()
	}
	return err
}

func (r measured) StopSandbox(ctx context.Context, id string) error {
	done := r.m.time("stop_podsandbox")
	err := r.Runtime.StopSandbox(ctx, id)
	done(err)
	return err
}

func (r measured) RemoveSandbox(ctx context.Context, id string) error {
	done := r.m.time("remove_podsandbox")
	err := r.Runtime.RemoveSandbox(ctx, id)
	done(err)
	return err
}

func (r measured) SandboxStatus(ctx context.Context, id string) (runtime.SandboxStatus, error) {
	done := r.m.time("podsandbox_status")
	s, err := r.Runtime.SandboxStatus(ctx, id)
	done(err)
	return s, err
}

func (r measured) CreateContainer(ctx context.Context, c runtime.Container) (string, error) {
	done := r.m.time("create_container")
	id, err := r.Runtime.CreateContainer(ctx, c)
	done(err)
	return id, err
}

func (r measured) StartContainer(ctx context.Context, id string) error {
	done := r.m.time("start_container")
	err := r.Runtime.StartContainer(ctx, id)
	done(err)
	return err
}

func (r measured) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	done := r.m.time("stop_container")
	err := r.Runtime.StopContainer(ctx, id, grace)
	done(err)
	return err
}

func (r measured) RemoveContainer(ctx context.Context, id string) error {
	done := r.m.time("remove_container")
	err := r.Runtime.RemoveContainer(ctx, id)
	done(err)
	return err
}

func (r measured) UpdateResources(ctx context.Context, id string, to runtime.Resources) error {
	done := r.m.time("update_container")
	err := r.Runtime.UpdateResources(ctx, id, to)
	done(err)
	return err
}

func (r measured) List(ctx context.Context) ([]runtime.SandboxStatus, []runtime.ContainerStatus, error) {
	done := r.m.time("list_containers")
	s, c, err := r.Runtime.List(ctx)
	done(err)
	return s, c, err
}

func (r measured) Status(ctx context.Context, id string) (runtime.ContainerStatus, error) {
	done := r.m.time("container_status")
	s, err := r.Runtime.Status(ctx, id)
	done(err)
	return s, err
}

func (r measured) Exec(ctx context.Context, id string, e runtime.Exec) (int, error) {
	done := r.m.time("exec")
	code, err := r.Runtime.Exec(ctx, id, e)
	done(err)
	return code, err
}

func (r measured) Attach(ctx context.Context, id string, e runtime.Exec) error {
	done := r.m.time("attach")
	err := r.Runtime.Attach(ctx, id, e)
	done(err)
	return err
}

func (r measured) PortForward(ctx context.Context, sandbox string, port int32, stream io.ReadWriteCloser) error {
	done := r.m.time("port_forward")
	err := r.Runtime.PortForward(ctx, sandbox, port, stream)
	done(err)
	return err
}

func (r measured) ReopenLog(ctx context.Context, id string) error {
	done := r.m.time("reopen_container_log")
	err := r.Runtime.ReopenLog(ctx, id)
	done(err)
	return err
}

// measuredImages is an image store whose operations are counted.
type measuredImages struct {
	runtime.Images
	m *Meter
}

func (i measuredImages) ListImages(ctx context.Context) ([]runtime.Image, error) {
	done := i.m.time("list_images")
	out, err := i.Images.ListImages(ctx)
	done(err)
	return out, err
}

func (i measuredImages) PullImage(ctx context.Context, ref string, auth []runtime.PullAuth) (runtime.Image, error) {
	start, done := time.Now(), i.m.time("pull_image")
	image, err := i.Images.PullImage(ctx, ref, auth)
	done(err)
	i.m.pulled(ref, start, time.Now())
	if err == nil {
		i.m.pulls.WithLabelValues(sizeClass(image.Size)).Observe(time.Since(start).Seconds())
	}
	return image, err
}

func (i measuredImages) RemoveImage(ctx context.Context, ref string) error {
	done := i.m.time("remove_image")
	err := i.Images.RemoveImage(ctx, ref)
	done(err)
	return err
}

// sizes are the classes that pulls are told apart by, largest first: what an image is larger than. Upstream's.
var sizes = []struct {
	above int64
	name  string
}{
	{100 << 30, "GT100GB"}, {60 << 30, "60GB-100GB"}, {40 << 30, "40GB-60GB"}, {30 << 30, "30GB-40GB"}, {20 << 30, "20GB-30GB"},
	{10 << 30, "10GB-20GB"}, {5 << 30, "5GB-10GB"}, {1 << 30, "1GB-5GB"}, {500 << 20, "500MB-1GB"}, {100 << 20, "100MB-500MB"},
	{10 << 20, "10MB-100MB"}, {0, "0-10MB"},
}

func sizeClass(bytes int64) string {
	for _, s := range sizes {
		if bytes > s.above {
			return s.name
		}
	}
	return "N/A"
}
