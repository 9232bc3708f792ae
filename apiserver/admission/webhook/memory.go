package webhook

import (
	"maps"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	upstream "k8s.io/apiserver/pkg/admission"

	"clipper/apiserver/admission/extension"
)

// A memory is what the second round over the webhooks knows of the first.
type memory struct {
	left    runtime.Object  // the object as the last round left it
	invoked map[string]bool // webhooks that were asked, would like to be asked again, and have seen the latest change
	due     map[string]bool // those that have not: something changed the object after their turn
}

const memoryKey = "MutatingAdmissionWebhook"

func recall(attrs upstream.Attributes) *memory {
	ctx := attrs.GetReinvocationContext()
	if m, ok := ctx.Value(memoryKey).(*memory); ok {
		return m
	}
	m := &memory{invoked: map[string]bool{}, due: map[string]bool{}}
	ctx.SetValue(memoryKey, m)
	return m
}

// changed notes that the object is not what the webhooks saw that had their turn.
func (m *memory) changed() {
	maps.Copy(m.due, m.invoked)
	clear(m.invoked)
}

// compare notices what other plug-ins did to the object since the last round.
func (m *memory) compare(now runtime.Object) {
	if !equality.Semantic.DeepEqual(m.left, now) {
		m.changed()
	}
}

func (m *memory) keep(now runtime.Object) {
	m.left = nil
	if now != nil {
		m.left = now.DeepCopyObject()
	}
}

// latestVersion converts a write, and what webhooks have made of it, to the version that the next wants.
type latestVersion struct {
	attrs   upstream.Attributes
	objects extension.Objects
	current *upstream.VersionedAttributes
}

// VersionedAttribute implements generic.VersionedAttributeAccessor.
func (v *latestVersion) VersionedAttribute(gvk schema.GroupVersionKind) (_ *upstream.VersionedAttributes, err error) {
	if v.current == nil {
		v.current, err = upstream.NewVersionedAttributes(v.attrs, gvk, v.objects)
		return v.current, err
	}
	return v.current, upstream.ConvertVersionedAttributes(v.current, gvk, v.objects)
}

// finish brings the webhooks' changes into the object under admission.
func (v *latestVersion) finish() error {
	if v.current == nil || v.current.VersionedObject == nil || !v.current.Dirty {
		return nil
	}
	return v.objects.Convert(v.current.VersionedObject, v.attrs.GetObject(), nil)
}
