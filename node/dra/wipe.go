package dra

import (
	"context"
	"errors"
	"log/slog"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"clipper/api"
)

// wipeAfter is how long a driver may be gone before what it offers is withdrawn. Upstream's figure: long enough for a
// driver's pod to be replaced, short enough that few pods are sent here for nothing.
const wipeAfter = 30 * time.Second

// Pauses between attempts to withdraw what a driver offers.
const (
	firstWipePause = time.Second
	lastWipePause  = 5 * time.Minute
)

// A wiper deletes the ResourceSlices of drivers that have been gone for long. Drivers of which slices are found at
// the start count as gone since then: they may have been removed while no agent ran.
type wiper struct {
	client api.Client
	node   string
	usable func(driver string) bool
	looks  chan string // drivers that may have come or gone
}

// maxLooks bounds the drivers that wait to be looked at; who finds it full waits.
const maxLooks = 64

func newWiper(c api.Client, node string, usable func(string) bool) *wiper {
	return &wiper{client: c, node: node, usable: usable, looks: make(chan string, maxLooks)}
}

// look has a driver looked at.
func (w *wiper) look(driver string) {
	select {
	case w.looks <- driver:
	case <-time.After(time.Second): // the agent is stopping, or has far more to do than this
	}
}

// An absence is when a driver's slices are to be deleted, and how long to wait if that fails.
type absence struct {
	due   time.Time
	pause time.Duration
}

func (w *wiper) run(ctx context.Context) error {
	absent := map[string]absence{}
	if found, err := w.slices(ctx, ""); err == nil {
		for _, s := range found {
			absent[s.Spec.Driver] = absence{time.Now().Add(wipeAfter), firstWipePause}
		}
	}
	for {
		var alarm <-chan time.Time
		if at := earliest(absent); !at.IsZero() {
			alarm = time.After(time.Until(at))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case driver := <-w.looks:
			if _, known := absent[driver]; !known {
				absent[driver] = absence{time.Now().Add(wipeAfter), firstWipePause}
			}
			if w.usable(driver) {
				delete(absent, driver)
			}
		case <-alarm:
			w.wipeDue(ctx, absent)
		}
	}
}

func earliest(absent map[string]absence) time.Time {
	var at time.Time
	for _, a := range absent {
		if at.IsZero() || a.due.Before(at) {
			at = a.due
		}
	}
	return at
}

// wipeDue deletes what is due, or puts it off if that fails.
func (w *wiper) wipeDue(ctx context.Context, absent map[string]absence) {
	for driver, a := range absent {
		if time.Now().Before(a.due) {
			continue
		}
		delete(absent, driver)
		if w.usable(driver) {
			continue
		}
		if err := w.wipe(ctx, driver); err != nil && ctx.Err() == nil {
			slog.Warn("Withdrawing what a DRA driver offers that is gone failed; it will be tried again", "driver", driver, "in", a.pause, "err", err)
			absent[driver] = absence{time.Now().Add(a.pause), min(2*a.pause, lastWipePause)}
		}
	}
}

func (w *wiper) slices(ctx context.Context, driver string) ([]*resourcev1.ResourceSlice, error) {
	selector := fields.Set{resourcev1.ResourceSliceSelectorNodeName: w.node}
	if driver != "" {
		selector[resourcev1.ResourceSliceSelectorDriver] = driver
	}
	return api.ResourceSlices.List(ctx, w.client, "", metav1.ListOptions{FieldSelector: selector.String()})
}

func (w *wiper) wipe(ctx context.Context, driver string) error {
	found, err := w.slices(ctx, driver)
	errs := []error{err}
	for _, s := range found {
		if s.Spec.Driver != driver { // never trust a selector with what others offer
			continue
		}
		if err := api.ResourceSlices.Delete(ctx, w.client, "", s.Name, metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	if len(found) > 0 {
		slog.Info("Withdrew what a DRA driver offered that is gone", "driver", driver, "slices", len(found))
	}
	return errors.Join(errs...)
}
