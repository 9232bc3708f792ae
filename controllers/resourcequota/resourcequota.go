// Package resourcequota keeps status.used of every ResourceQuota. Admission adds what is created;
// this controller counts anew whenever something goes, ends, or the quota itself changes.
package resourcequota

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"clipper/api"
	"clipper/apiserver/quota"
	"clipper/controllers/owner"
	"clipper/controllers/queue"
)

const (
	workers = 4
	// settle is how long after a create a quota is counted again: admission charged before the commit, and
	// a count in between would have missed the new object.
	settle = 500 * time.Millisecond
	// recheck is how often quotas on kinds that are not watched, those of custom resources, are counted.
	recheck = 10 * time.Second
	// resync is how often every quota is counted, whatever was heard: upstream's figure.
	resync = 5 * time.Minute
)

// watched are the kinds whose going is noticed at once.
var watched = []api.Resource{
	api.Pods.Resource, api.Services.Resource, api.PersistentVolumeClaims.Resource, api.ReplicationControllers.Resource,
	api.Secrets.Resource, api.ConfigMaps.Resource, api.Deployments.Resource, api.ReplicaSets.Resource,
	api.StatefulSets.Resource, api.DaemonSets.Resource, api.Jobs.Resource, api.CronJobs.Resource,
}

// A Controller is the quota controller.
type Controller struct {
	client api.Client
	served func() []api.Resource
	queue  *queue.Queue[owner.Key]
}

// New returns the controller; Run starts it. served lists the resources there are.
func New(c api.Client, served func() []api.Resource) *Controller {
	k := &Controller{client: c, served: served}
	k.queue = queue.New("resourcequota_primary", workers, k.sync)
	return k
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	quotas := api.ResourceQuotas.View(k.client)
	sources := []queue.Source{{View: quotas.View, Handle: func(e api.Event) {
		// Status is written by admission and by us. To count because admission has just charged would
		// miss what is about to be committed, and let the next one in as well.
		if e.Type == api.Added || e.Type == api.Modified && specChanged(e) {
			k.queue.Add(owner.KeyOf(e.New))
		} else if e.Type == api.Modified && foreign(e.New.(*corev1.ResourceQuota)) {
			k.queue.AddAfter(owner.KeyOf(e.New), settle)
		}
	}}}
	for _, r := range watched {
		sources = append(sources, queue.Source{View: k.client.View(r), Handle: func(e api.Event) {
			if !matters(r, e) {
				return
			}
			for _, q := range quotas.List(e.Object().GetNamespace()) {
				if e.Type == api.Added {
					k.queue.AddAfter(owner.KeyOf(q), settle)
				} else {
					k.queue.Add(owner.KeyOf(q))
				}
			}
		}})
	}
	return k.queue.Run(ctx, sources...)
}

func specChanged(e api.Event) bool {
	old, next := e.Old.(*corev1.ResourceQuota), e.New.(*corev1.ResourceQuota)
	return !quota.Same(old.Spec.Hard, next.Spec.Hard)
}

// foreign says whether somebody else wrote the status: admission changes what is used, never what is allowed.
func foreign(q *corev1.ResourceQuota) bool { return !quota.Same(q.Spec.Hard, q.Status.Hard) }

// matters says whether an event can change what is used.
func matters(r api.Resource, e api.Event) bool {
	if e.Type != api.Modified {
		return true
	}
	switch r {
	case api.Pods.Resource, api.Services.Resource, api.PersistentVolumeClaims.Resource:
		return !quota.Same(quota.Usage(r, e.Old), quota.Usage(r, e.New))
	}
	return false
}

func (k *Controller) sync(ctx context.Context, key owner.Key) error {
	q, ok := api.ResourceQuotas.View(k.client).Get(key.Namespace, key.Name)
	if !ok || q.DeletionTimestamp != nil {
		return nil
	}
	limited := quota.Limited(q, k.served())
	if allWatched(limited) {
		k.queue.AddAfter(key, resync)
	} else {
		k.queue.AddAfter(key, recheck)
	}
	used := quota.Count(q, func(yield func(api.Resource, api.Object) bool) {
		for _, r := range limited {
			for _, o := range k.client.View(r).List(key.Namespace) {
				if !yield(r, o) {
					return
				}
			}
		}
	})
	if quota.Same(used, q.Status.Used) && quota.Same(q.Spec.Hard, q.Status.Hard) {
		return nil
	}
	next := q.DeepCopy()
	next.Status = corev1.ResourceQuotaStatus{Hard: q.Spec.Hard.DeepCopy(), Used: used}
	if _, err := api.ResourceQuotas.UpdateStatus(ctx, k.client, next); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("resourcequota %s: write status: %w", key, err) // a conflict with admission: count again
	}
	return nil
}

func allWatched(limited []api.Resource) bool {
	return !slices.ContainsFunc(limited, func(r api.Resource) bool { return !slices.Contains(watched, r) })
}
