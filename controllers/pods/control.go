package pods

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
)

// An Eventer records events; *record.Recorder is one.
type Eventer interface {
	Event(obj api.Object, eventType, reason, format string, args ...any)
}

// Control creates and deletes pods in the name of a controlling object.
type Control struct {
	Client api.Client
	Events Eventer
}

// deletionCost reads the annotation that says what losing p costs; faulty ones count as none.
func deletionCost(p *corev1.Pod) int32 {
	text, ok := p.Annotations[corev1.PodDeletionCost]
	if !ok || strings.HasPrefix(text, "+") || len(text) > 1 && text[0] == '0' {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < math.MinInt32 || n > math.MaxInt32 {
		return 0
	}
	return int32(n)
}

// FromTemplate makes a pod that ref's object controls. Its name is generated from the owner's.
func FromTemplate(t *corev1.PodTemplateSpec, owner metav1.Object, ref *metav1.OwnerReference) *corev1.Pod {
	t = t.DeepCopy()
	prefix := owner.GetName() + "-"
	if len(validation.NameIsDNSSubdomain(prefix, true)) > 0 {
		prefix = owner.GetName()
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: owner.GetNamespace(), GenerateName: prefix,
			Labels: t.Labels, Annotations: t.Annotations, Finalizers: t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*ref},
		},
		Spec: t.Spec,
	}
}

// Create makes a pod for owner and records how it went.
func (c Control) Create(ctx context.Context, owner api.Object, p *corev1.Pod) (*corev1.Pod, error) {
	made, err := api.Pods.Create(ctx, c.Client, p)
	if err != nil {
		if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			c.Events.Event(owner, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
		}
		return nil, err
	}
	c.Events.Event(owner, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %v", made.Name)
	return made, nil
}

// Delete deletes this pod, never a later one of the same name, and records how it went. A pod that is
// gone already is no error.
func (c Control) Delete(ctx context.Context, owner api.Object, p *corev1.Pod) error {
	err := api.Pods.DeleteThis(ctx, c.Client, p, metav1.DeleteOptions{})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return nil
	case err != nil:
		c.Events.Event(owner, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
		return fmt.Errorf("delete pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	c.Events.Event(owner, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %v", p.Name)
	return nil
}

// Each calls fn for 0 to n-1 in batches of 1, 2, 4, … at once, and stops after a batch that had an
// error: what a quota refuses is then refused once, not n times. It returns how many calls succeeded.
func Each(n int, fn func(i int) error) (int, error) {
	done := 0
	for size := 1; done < n; size *= 2 {
		size = min(size, n-done)
		errs := make([]error, size)
		var g errgroup.Group
		g.SetLimit(32)
		for i := range size {
			g.Go(func() error {
				errs[i] = fn(done + i)
				return nil
			})
		}
		g.Wait()
		ok := 0
		var first error
		for _, err := range errs {
			switch {
			case err == nil:
				ok++
			case first == nil:
				first = err
			}
		}
		done += ok
		if first != nil {
			return done, first
		}
	}
	return done, nil
}
