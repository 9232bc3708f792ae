package podworker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/node/podworker/lifecycle"
	"clipper/node/probe"
)

// hook runs a lifecycle handler. Its errors are worded as a pod's status shows them.
func (w *Worker) hook(ctx context.Context, c *corev1.Container, id string, h *corev1.LifecycleHandler, ips []netip.Addr) error {
	failed := func(kind string, what any, err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("%s lifecycle hook (%v) for Container %q in Pod %q failed - error: %w", kind, what, c.Name, lifecycle.FullName(w.subject.Load()), err)
	}
	switch {
	case h.Exec != nil:
		return failed("Exec", h.Exec.Command, w.execHook(ctx, id, h.Exec.Command))
	case h.HTTPGet != nil:
		return failed("HTTP", h.HTTPGet.Path, w.httpHook(ctx, c, h.HTTPGet, ips))
	case h.Sleep != nil:
		return failed("Sleep", h.Sleep.Seconds, sleepHook(ctx, h.Sleep.Seconds))
	}
	return fmt.Errorf("Cannot run handler: invalid handler: %v", h) //nolint:staticcheck // upstream's words
}

func (w *Worker) execHook(ctx context.Context, id string, command []string) error {
	code, out, err := w.exec(ctx, id, command, 10<<10)
	if err == nil && code != 0 {
		err = fmt.Errorf("command '%s' exited with %d: %s", strings.Join(command, " "), code, out)
	}
	if err != nil {
		err = fmt.Errorf("%w, message: %q", err, out)
	}
	return err
}

// httpHook makes a request whose answer does not matter. A server that speaks no TLS is asked again without.
func (w *Worker) httpHook(ctx context.Context, c *corev1.Container, a *corev1.HTTPGetAction, ips []netip.Addr) error {
	req, err := probe.NewRequest(ctx, a, probe.Target{PodIP: w.cfg.podIP(ips), Container: c}, "lifecycle")
	if err != nil {
		return err
	}
	if _, _, err = probe.Do(req, time.Minute); !errors.Is(err, http.ErrSchemeMismatch) {
		return err
	}
	plain := req.Clone(ctx)
	plain.URL.Scheme = "http"
	plain.Header.Del("Authorization")
	if _, _, perr := probe.Do(plain, time.Minute); perr != nil {
		return err
	}
	w.event("", corev1.EventTypeWarning, "LifecycleHTTPFallback",
		"request to HTTPS lifecycle hook %s got HTTP response, retry with HTTP succeeded", req.URL.Host)
	return nil
}

func sleepHook(ctx context.Context, seconds int64) error {
	t := time.NewTimer(time.Duration(seconds) * time.Second)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return errors.New("container terminated before sleep hook finished")
	}
}
