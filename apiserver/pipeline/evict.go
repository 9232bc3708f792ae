package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
	"clipper/store"
)

// maxDisruptedPods bounds a budget's list of pods that are about to go. Upstream's figure.
const maxDisruptedPods = 2000

// evict deletes a pod if the disruption budgets that cover it allow: pods/eviction.
func (p *Pipeline) evict(ctx context.Context, req *Request, body api.Object, o metav1.CreateOptions) (runtime.Object, error) {
	name, options, err := eviction(body)
	if err != nil {
		return nil, err
	}
	if name != req.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	if len(o.DryRun) > 0 {
		options.DryRun = o.DryRun
	}
	item, err := p.Get(ctx, req)
	if err != nil {
		return nil, err
	}
	pod, ok := item.Object.(*corev1.Pod)
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("%s is not a pod", req.Name))
	}
	if budgeted(pod) {
		if err := p.spendBudget(ctx, req, pod, len(options.DryRun) > 0); err != nil {
			return nil, err
		}
		// The budget was spent on this very pod: never delete a successor of its name.
		if options.Preconditions == nil {
			options.Preconditions = &metav1.Preconditions{}
		}
		if options.Preconditions.UID == nil {
			options.Preconditions.UID = &pod.UID
		}
	}
	del := *req
	del.Subresource, del.Admitted = "", true // as an eviction
	if len(options.DryRun) == 0 {
		if err := p.markEvicted(ctx, &del, pod.UID, options.Preconditions); err != nil {
			return nil, err
		}
	}
	if _, err := p.Delete(ctx, &del, options); err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

func eviction(body api.Object) (name string, o *metav1.DeleteOptions, err error) {
	switch e := body.(type) {
	case *policyv1.Eviction:
		name, o = e.Name, e.DeleteOptions
	case *policyv1beta1.Eviction:
		name, o = e.Name, e.DeleteOptions
	default:
		return "", nil, apierrors.NewBadRequest(fmt.Sprintf("not a Eviction object: %T", body))
	}
	if o == nil {
		o = &metav1.DeleteOptions{}
	}
	return name, o.DeepCopy(), nil
}

// budgeted says whether losing the pod disrupts anything: finished, pending and dying pods do not count.
func budgeted(pod *corev1.Pod) bool {
	switch pod.Status.Phase {
	case corev1.PodSucceeded, corev1.PodFailed, corev1.PodPending:
		return false
	}
	return pod.DeletionTimestamp == nil
}

// markEvicted notes on the pod why it is about to go. A revision that is required is required of the pod
// without the note; from here on it is that of the pod with it.
func (p *Pipeline) markEvicted(ctx context.Context, req *Request, uid types.UID, required *metav1.Preconditions) error {
	w := p.begin(req, nil, "")
	marked, err := w.update(ctx, update{next: func(_ context.Context, old api.Object) (api.Object, error) {
		if err := req.checkPreconditions(required, old); err != nil {
			return nil, err
		}
		pod := old.DeepCopyObject().(*corev1.Pod)
		if pod.UID != uid {
			return nil, req.notFound()
		}
		setCondition(pod, corev1.PodCondition{
			Type:    corev1.DisruptionTarget,
			Status:  corev1.ConditionTrue,
			Reason:  "EvictionByEvictionAPI",
			Message: "Eviction API: evicting",
		})
		return pod, nil
	}})
	if err == nil && required != nil && required.ResourceVersion != nil {
		revision := marked.Object.(*corev1.Pod).ResourceVersion
		required.ResourceVersion = &revision
	}
	return err
}

// spendBudget takes one disruption from the budget that covers pod, if there is one.
func (p *Pipeline) spendBudget(ctx context.Context, req *Request, pod *corev1.Pod, dryRun bool) error {
	r := p.served.Table().Resource(api.PodDisruptionBudgets.Resource)
	if r == nil {
		return nil
	}
	kept := p.store.Of(r.Prefix)
	if err := kept.Fresh(ctx); err != nil {
		return storeError(err)
	}
	for {
		budgets := covering(kept.Snapshot(r.Prefix), pod)
		switch {
		case len(budgets) == 0:
			return nil
		case len(budgets) > 1:
			return apierrors.NewInternalError(errors.New("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."))
		}
		pdb := budgets[0].Object.(*policyv1.PodDisruptionBudget)
		if !podReady(pod) && exempt(pdb) {
			return nil
		}
		next, err := disrupt(pdb, pod, time.Now())
		if err != nil || dryRun {
			return err
		}
		_, err = kept.Commit(ctx, store.Write{Key: budgets[0].Key, Expect: budgets[0].Revision, Object: next})
		var conflict *store.ConflictError
		if !errors.As(err, &conflict) {
			return storeError(err)
		}
		if conflict.Current != nil {
			if err := kept.WaitRevision(ctx, conflict.Current.Revision); err != nil {
				return storeError(err)
			}
		}
	}
}

// exempt says whether the budget lets an unready pod go for free.
func exempt(pdb *policyv1.PodDisruptionBudget) bool {
	policy := pdb.Spec.UnhealthyPodEvictionPolicy
	if policy != nil && *policy == policyv1.AlwaysAllow {
		return true
	}
	// By default an unready pod of a healthy application may go.
	return pdb.Status.CurrentHealthy >= pdb.Status.DesiredHealthy && pdb.Status.DesiredHealthy > 0
}

func podReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// covering returns the disruption budgets that select pod.
func covering(budgets store.Snapshot, pod *corev1.Pod) []*store.Item {
	var out []*store.Item
	budgets.Ascend(pod.Namespace, store.Key{}, func(item *store.Item) bool {
		pdb := item.Object.(*policyv1.PodDisruptionBudget)
		sel, err := metav1.LabelSelectorAsSelector(pdb.Spec.Selector)
		if err == nil && sel.Matches(labels.Set(pod.Labels)) {
			out = append(out, item)
		}
		return true
	})
	return out
}

// disrupt returns pdb with one disruption less and pod on its list, or upstream's refusal.
func disrupt(pdb *policyv1.PodDisruptionBudget, pod *corev1.Pod, now time.Time) (*policyv1.PodDisruptionBudget, error) {
	forbidden := func(text string) error {
		return apierrors.NewForbidden(policyv1.Resource("poddisruptionbudget"), pdb.Name, errors.New(text))
	}
	switch {
	case pdb.Status.ObservedGeneration < pdb.Generation:
		return nil, tooManyRequests(fmt.Sprintf("The disruption budget %s is still being processed by the server.", pdb.Name), 10)
	case pdb.Status.DisruptionsAllowed < 0:
		return nil, forbidden("pdb disruptions allowed is negative")
	case len(pdb.Status.DisruptedPods) > maxDisruptedPods:
		return nil, forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller")
	case pdb.Status.DisruptionsAllowed == 0:
		return nil, tooManyRequests(fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently",
			pdb.Name, pdb.Status.DesiredHealthy, pdb.Status.CurrentHealthy), 0)
	}
	next := pdb.DeepCopy()
	next.Status.DisruptionsAllowed--
	if next.Status.DisruptedPods == nil {
		next.Status.DisruptedPods = map[string]metav1.Time{}
	}
	next.Status.DisruptedPods[pod.Name] = metav1.NewTime(now).Rfc3339Copy()
	return next, nil
}

// tooManyRequests is a 429 whose details say that a budget is the cause.
func tooManyRequests(cause string, retrySeconds int) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", retrySeconds)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type:    policyv1.DisruptionBudgetCause,
		Message: cause,
	})
	return err
}
