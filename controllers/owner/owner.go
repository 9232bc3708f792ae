// Package owner decides which objects belong to which controller: the controlling owner reference of an
// object, adoption of orphans that a selector matches, release of those it matches no longer.
package owner

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
)

// A Key names a namespaced object, or a cluster-scoped one without Namespace.
type Key = types.NamespacedName

// KeyOf returns obj's key.
func KeyOf(obj metav1.Object) Key { return Key{Namespace: obj.GetNamespace(), Name: obj.GetName()} }

// Ref returns the reference that makes obj, of kind r, the controller of what it is put into.
func Ref(obj api.Object, r api.Resource) *metav1.OwnerReference {
	return metav1.NewControllerRef(obj, r.GVK())
}

// Controller returns the key of e's object's controller if it is of kind r.
func Controller(obj api.Object, r api.Resource) (Key, bool) {
	if obj == nil {
		return Key{}, false
	}
	ref := metav1.GetControllerOfNoCopy(obj)
	if ref == nil || ref.Kind != r.Kind || group(ref.APIVersion) != r.Group {
		return Key{}, false
	}
	return Key{Namespace: obj.GetNamespace(), Name: ref.Name}, true
}

func group(apiVersion string) string {
	for i := range apiVersion {
		if apiVersion[i] == '/' {
			return apiVersion[:i]
		}
	}
	return ""
}

// Candidates returns the objects of a kind that the owner controls, and the orphans of its namespace.
func Candidates[T api.Object](v api.TypedView[T], owner metav1.Object) []T {
	out := v.ByIndex(api.ByController, string(owner.GetUID()))
	for _, o := range v.ByIndex(api.ByController, "") {
		if o.GetNamespace() == owner.GetNamespace() {
			out = append(out, o)
		}
	}
	return out
}

// Claims says what is to be done so that an owner controls just what its selector matches.
type Claims[T api.Object] struct {
	Mine           []T // controlled already, and rightly so
	Adopt, Release []T
}

// Sort decides for every candidate. An owner that is being deleted adopts and releases nothing.
func Sort[T api.Object](owner metav1.Object, sel labels.Selector, candidates []T) Claims[T] {
	var c Claims[T]
	deleting := owner.GetDeletionTimestamp() != nil
	for _, o := range candidates {
		matches := sel.Matches(labels.Set(o.GetLabels()))
		ref := metav1.GetControllerOfNoCopy(o)
		switch {
		case ref != nil && ref.UID != owner.GetUID(): // somebody else's
		case ref != nil && matches:
			c.Mine = append(c.Mine, o)
		case ref != nil && !deleting:
			c.Release = append(c.Release, o)
		case ref == nil && matches && !deleting && o.GetDeletionTimestamp() == nil && o.GetNamespace() == owner.GetNamespace():
			c.Adopt = append(c.Adopt, o)
		}
	}
	return c
}

// Claim sorts the candidates of kind r, carries out what Sort decided and returns all that the owner
// controls now. Objects that vanish or find another owner meanwhile are left out.
func Claim[T api.Object](ctx context.Context, c api.Client, r api.Resource, owner metav1.Object, ref *metav1.OwnerReference, sel labels.Selector, candidates []T) ([]T, error) {
	claims := Sort(owner, sel, candidates)
	mine := claims.Mine
	for _, o := range claims.Adopt {
		adopted, err := patch(ctx, c, r, o, adoption(ref, o.GetUID()))
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("adopt %s %s/%s: %w", r.Kind, o.GetNamespace(), o.GetName(), err)
		}
		mine = append(mine, adopted.(T))
	}
	for _, o := range claims.Release {
		if _, err := patch(ctx, c, r, o, release(owner.GetUID(), o.GetUID())); err != nil && !gone(err) {
			return nil, fmt.Errorf("release %s %s/%s: %w", r.Kind, o.GetNamespace(), o.GetName(), err)
		}
	}
	return mine, nil
}

// gone covers an object that was deleted or made anew, and one that somebody else adopted first.
func gone(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsInvalid(err) || apierrors.IsConflict(err)
}

func patch(ctx context.Context, c api.Client, r api.Resource, o api.Object, body any) (api.Object, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return c.Patch(ctx, r, o.GetNamespace(), o.GetName(), "", types.StrategicMergePatchType, data, metav1.PatchOptions{})
}

// The uid in the metadata is a precondition: the patch must not hit a namesake.
func adoption(ref *metav1.OwnerReference, uid types.UID) any {
	return map[string]any{"metadata": map[string]any{"uid": uid, "ownerReferences": []any{ref}}}
}

func release(owner, uid types.UID) any {
	return map[string]any{"metadata": map[string]any{"uid": uid,
		"ownerReferences": []any{map[string]any{"$patch": "delete", "uid": owner}}}}
}
