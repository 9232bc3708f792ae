package volumeprotection

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"clipper/api"
	"clipper/apiserver/admission/storage"
	"clipper/apiserver/quota"
	"clipper/controllers/owner"
	"clipper/controllers/queue"
)

// classes does the work of upstream's vac-protection controller.
type classes struct {
	*Controller
	view  api.TypedView[*storagev1.VolumeAttributesClass]
	queue *queue.Queue[string]
}

func newClasses(k *Controller) *classes {
	c := &classes{Controller: k, view: api.VolumeAttributesClasses.View(k.client)}
	c.queue = queue.New("attributesprotection", 1, c.sync)
	return c
}

func (c *classes) run(ctx context.Context) error {
	freed := func(e api.Event) {
		for _, name := range named(e.Old) {
			if e.New == nil || !slices.Contains(named(e.New), name) {
				c.queue.Add(name)
			}
		}
	}
	return c.queue.Run(ctx,
		queue.Source{View: c.view.View, Handle: func(e api.Event) {
			if e.New != nil && e.New.GetDeletionTimestamp() != nil {
				c.queue.Add(e.New.GetName())
			}
		}},
		queue.Source{View: c.claims.View, Handle: freed},
		queue.Source{View: c.volumes.View, Handle: freed},
	)
}

// named are the classes that a claim or a volume names.
func named(o api.Object) []string {
	switch v := o.(type) {
	case *corev1.PersistentVolumeClaim:
		return quota.AttributesClasses(v)
	case *corev1.PersistentVolume:
		if name := v.Spec.VolumeAttributesClassName; name != nil && *name != "" {
			return []string{*name}
		}
	}
	return nil
}

func (c *classes) sync(ctx context.Context, name string) error {
	class, ok := c.view.Get("", name)
	if !ok || class.DeletionTimestamp == nil || c.anyNames(name) {
		return nil
	}
	return release(ctx, c.client, api.VolumeAttributesClasses, owner.Key{Name: name}, storage.AttributesFinalizer)
}

func (c *classes) anyNames(class string) bool {
	return slices.ContainsFunc(c.volumes.List(""), func(v *corev1.PersistentVolume) bool { return slices.Contains(named(v), class) }) ||
		slices.ContainsFunc(c.claims.List(""), func(v *corev1.PersistentVolumeClaim) bool { return slices.Contains(named(v), class) })
}
