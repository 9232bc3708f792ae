// Package quota enforces ResourceQuotas. What a write will use is added to the quota's status before the
// write is committed, with the status' own revision as the precondition: of two writers of which only one
// fits, one is refused. If the write fails after all the amount is taken off again; the quota controller
// counts anew whenever something goes.
package quota

import (
	"context"
	"hash/maphash"
	"log/slog"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"k8s.io/apiserver/pkg/admission/plugin/resourcequota/apis/resourcequota"

	"clipper/api"
	"clipper/apiserver/admission"
	"clipper/apiserver/quota"
)

const (
	attempts    = 50               // against the controller, which writes the status too
	pause       = time.Millisecond // until the winner's write is published
	undoTimeout = 10 * time.Second
)

// A Plugin is the admission plug-in ResourceQuota.
type Plugin struct {
	client api.Client
	quotas api.TypedView[*corev1.ResourceQuota]
	served func() []api.Resource
	// limited may only be used where a quota covers it.
	limited []resourcequota.LimitedResource
	// turns lets the writers of one quota charge one after another: racing for its version would only
	// make most of them try again. Quotas share turns by chance.
	turns [64]sync.Mutex
	seed  maphash.Seed
}

// New returns the plug-in. It writes the quotas' status through c; served lists the resources there are. raw is its
// ResourceQuotaConfiguration: what is limited where there is no quota, too. Without one that is nothing.
func New(c api.Client, served func() []api.Resource, raw []byte) (*Plugin, error) {
	limited, err := readLimited(raw)
	if err != nil {
		return nil, err
	}
	return &Plugin{client: c, quotas: api.ResourceQuotas.View(c), served: served, limited: limited, seed: maphash.MakeSeed()}, nil
}

// Validate charges the namespace's quotas. It must be the last plug-in: what it charges counts.
func (p *Plugin) Validate(ctx context.Context, a *admission.Attributes) error {
	if !a.Resource.Namespaced || a.Operation != admission.Create && a.Operation != admission.Update || !charged(a) {
		return nil
	}
	quotas := p.quotas.List(a.Namespace)
	if len(quotas) == 0 && len(p.limited) == 0 {
		return nil
	}
	var was corev1.ResourceList
	if a.Operation == admission.Update {
		was = quota.Usage(a.Resource, a.Old)
	}
	usage := quota.Usage(a.Resource, a.Object)
	if names := quota.Negative(usage); len(names) > 0 {
		return a.Forbiddenf("quota usage is negative for resource(s): %s", strings.Join(names, ","))
	}
	if err := p.covered(a, quotas, usage, was); err != nil {
		return err
	}
	for _, q := range quotas {
		if q.DeletionTimestamp != nil || !quota.Matches(q, a.Object) {
			continue
		}
		if pod, ok := a.Object.(*corev1.Pod); ok {
			if err := quota.Unspecified(q, pod); err != nil {
				return a.Forbiddenf("failed quota: %s: %w", q.Name, err)
			}
		}
		before := was
		if a.Operation == admission.Update && !quota.Matches(q, a.Old) {
			before = nil // an update that brings the object into the quota's scope
		}
		delta := quota.Mask(quota.Subtract(usage, before), q.Spec.Hard)
		if err := p.charge(ctx, a, q, delta); err != nil {
			return err
		}
	}
	return nil
}

// charged says whether a write can change what is used: creates of objects, and updates of those whose
// size counts.
func charged(a *admission.Attributes) bool {
	if a.Resource == api.ResourceQuotas.Resource && a.Operation == admission.Update {
		return false
	}
	if a.Operation == admission.Create {
		return a.Subresource == ""
	}
	switch a.Resource {
	case api.Pods.Resource:
		return a.Subresource == "resize" || a.Subresource == "" && ends(a.Object) != ends(a.Old)
	case api.Services.Resource, api.PersistentVolumeClaims.Resource, api.ResourceClaims.Resource:
		return a.Subresource == ""
	}
	return false
}

// ends says whether a pod has a deadline: setting one brings it into the scope of other quotas.
func ends(o api.Object) bool {
	pod, ok := o.(*corev1.Pod)
	return ok && pod.Spec.ActiveDeadlineSeconds != nil
}

// charge adds delta to the used amounts of q, or refuses.
func (p *Plugin) charge(ctx context.Context, a *admission.Attributes, q *corev1.ResourceQuota, delta corev1.ResourceList) error {
	if !grows(delta) {
		return nil // the controller counts what gets less
	}
	turn := &p.turns[maphash.String(p.seed, q.Namespace+"/"+q.Name)%uint64(len(p.turns))]
	turn.Lock()
	defer turn.Unlock()
	if newest, ok := p.quotas.Get(q.Namespace, q.Name); ok {
		q = newest
	}
	for range attempts {
		used := q.Status.Used
		if !quota.Same(q.Spec.Hard, q.Status.Hard) {
			used = p.count(q) // the controller has not seen this spec yet
		}
		if err := quota.Exceeded(q, used, delta); err != nil {
			return a.Forbidden(err)
		}
		if a.DryRun {
			return nil
		}
		next := q.DeepCopy()
		next.Status.Hard, next.Status.Used = q.Spec.Hard, quota.Add(used, delta)
		written, err := api.ResourceQuotas.UpdateStatus(ctx, p.client, next)
		switch {
		case err == nil:
			a.Undo(func() { p.giveBack(ctx, written, delta) })
			return nil
		case apierrors.IsNotFound(err):
			return nil // the quota has just been deleted
		case !apierrors.IsConflict(err):
			return apierrors.NewInternalError(err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return apierrors.NewTimeoutError("quota "+q.Name+" could not be charged in time", 0)
		}
		if q, err = api.ResourceQuotas.Get(ctx, p.client, q.Namespace, q.Name); apierrors.IsNotFound(err) {
			return nil
		} else if err != nil {
			return apierrors.NewInternalError(err)
		}
	}
	return apierrors.NewConflict(api.ResourceQuotas.GroupResource(), q.Name, errBusy)
}

type busy struct{}

func (busy) Error() string { return "too many writers; try again" }

var errBusy = busy{}

func grows(delta corev1.ResourceList) bool {
	for _, v := range delta {
		if v.Sign() > 0 {
			return true
		}
	}
	return false
}

// giveBack takes off what a failed write had added. It must not be lost with the request's context.
func (p *Plugin) giveBack(ctx context.Context, q *corev1.ResourceQuota, delta corev1.ResourceList) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	_, err := api.ResourceQuotas.Mutate(ctx, p.client, q.Namespace, q.Name, "status", func(q *corev1.ResourceQuota) (bool, error) {
		q.Status.Used = quota.Subtract(q.Status.Used, delta)
		return true, nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		slog.Warn("quota not given back; the controller will count again", "quota", q.Namespace+"/"+q.Name, "err", err)
	}
}

func (p *Plugin) count(q *corev1.ResourceQuota) corev1.ResourceList {
	return quota.Count(q, func(yield func(api.Resource, api.Object) bool) {
		for _, r := range quota.Limited(q, p.served()) {
			for _, o := range p.client.View(r).List(q.Namespace) {
				if !yield(r, o) {
					return
				}
			}
		}
	})
}
