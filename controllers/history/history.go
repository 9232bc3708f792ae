// Package history keeps the past templates of DaemonSets and StatefulSets as ControllerRevisions, in the
// form that kubectl's rollout commands read.
package history

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/dump"
	"k8s.io/apimachinery/pkg/util/rand"

	"clipper/api"
	"clipper/controllers/owner"
)

// TemplatePatch is the patch that would bring a set back to a template. kubectl applies it to undo.
func TemplatePatch(t *corev1.PodTemplateSpec) ([]byte, error) {
	data, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	var tpl map[string]any
	if err := json.Unmarshal(data, &tpl); err != nil {
		return nil, err
	}
	tpl["$patch"] = "replace"
	return json.Marshal(map[string]any{"spec": map[string]any{"template": tpl}})
}

// Template reads a template back from a revision.
func Template(r *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	var data struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(r.Data.Raw, &data); err != nil {
		return nil, fmt.Errorf("controller revision %s/%s: %w", r.Namespace, r.Name, err)
	}
	return &data.Spec.Template, nil
}

// TemplateHash names a DaemonSet's revision; upstream's function.
func TemplateHash(t *corev1.PodTemplateSpec, collisions *int32) string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%v", dump.ForHash(*t))
	if collisions != nil {
		var b [8]byte
		binary.LittleEndian.PutUint32(b[:], uint32(*collisions))
		h.Write(b[:])
	}
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}

// DataHash names a StatefulSet's revision; upstream's function.
func DataHash(data []byte, collisions *int32) string {
	h := fnv.New32()
	h.Write(data)
	if collisions != nil {
		h.Write([]byte(strconv.FormatInt(int64(*collisions), 10)))
	}
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}

// Collided returns the count of collisions after one more. The next hash is another for it.
func Collided(collisions *int32) *int32 {
	n := int32(1)
	if collisions != nil {
		n += *collisions
	}
	return &n
}

// A Parent is the set whose history is kept.
type Parent struct {
	Object   api.Object
	Resource api.Resource
	Template *corev1.PodTemplateSpec
	Selector *metav1.LabelSelector
	// Hash names the revision of a template; Label is where a revision bears the hash.
	Hash  func(patch []byte) string
	Label string
}

// List returns the revisions of p, oldest first.
func List(ctx context.Context, c api.Client, p Parent) ([]*appsv1.ControllerRevision, error) {
	sel, err := metav1.LabelSelectorAsSelector(p.Selector)
	if err != nil {
		return nil, err
	}
	view := api.ControllerRevisions.View(c)
	all, err := owner.Claim(ctx, c, api.ControllerRevisions.Resource, p.Object, owner.Ref(p.Object, p.Resource), sel, owner.Candidates(view, p.Object))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b *appsv1.ControllerRevision) int {
		if a.Revision != b.Revision {
			return int(a.Revision - b.Revision)
		}
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	return all, nil
}

// ErrCollision: another template's revision has the name. The caller raises its collision count.
var ErrCollision = fmt.Errorf("controller revision of that name exists")

// Current returns the revision of p's template, which it makes or moves to the end of the history, and the
// history with it.
func Current(ctx context.Context, c api.Client, p Parent, all []*appsv1.ControllerRevision) (*appsv1.ControllerRevision, []*appsv1.ControllerRevision, error) {
	patch, err := TemplatePatch(p.Template)
	if err != nil {
		return nil, nil, err
	}
	next := int64(1)
	if len(all) > 0 {
		next = all[len(all)-1].Revision + 1
	}
	for i := len(all) - 1; i >= 0; i-- {
		r := all[i]
		if !bytes.Equal(r.Data.Raw, patch) {
			continue
		}
		if r.Revision == next-1 {
			return r, all, nil
		}
		r = r.DeepCopy()
		r.Revision = next
		if r, err = api.ControllerRevisions.Update(ctx, c, r); err != nil {
			return nil, nil, err
		}
		return r, append(slices.Delete(slices.Clone(all), i, i+1), r), nil
	}
	r, err := create(ctx, c, p, patch, next)
	return r, append(slices.Clone(all), r), err
}

func create(ctx context.Context, c api.Client, p Parent, patch []byte, revision int64) (*appsv1.ControllerRevision, error) {
	hash := p.Hash(patch)
	labels := maps.Clone(p.Template.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[p.Label] = hash
	r := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.Object.GetNamespace(), Name: p.Object.GetName() + "-" + hash,
			Labels: labels, Annotations: maps.Clone(p.Object.GetAnnotations()),
			OwnerReferences: []metav1.OwnerReference{*owner.Ref(p.Object, p.Resource)},
		},
		Data: runtime.RawExtension{Raw: patch}, Revision: revision,
	}
	made, err := api.ControllerRevisions.Create(ctx, c, r)
	if apierrors.IsAlreadyExists(err) {
		return nil, ErrCollision
	}
	return made, err
}

// Truncate deletes the oldest revisions beyond limit that are not in use.
func Truncate(ctx context.Context, c api.Client, all []*appsv1.ControllerRevision, limit int32, inUse func(*appsv1.ControllerRevision) bool) error {
	unused := slices.DeleteFunc(slices.Clone(all), inUse)
	for _, r := range unused[:max(0, len(unused)-int(limit))] {
		err := api.ControllerRevisions.DeleteThis(ctx, c, r, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete controller revision %s/%s: %w", r.Namespace, r.Name, err)
		}
	}
	return nil
}
