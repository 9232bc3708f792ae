// Package resourceclaim makes the ResourceClaims of pods that ask for them by template, reserves claims for pods that
// got their node without the scheduler, and takes claims away from pods that have ended: a claim that nobody uses any
// more loses its devices, and goes itself if it was made for one pod.
package resourceclaim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	"k8s.io/utils/ptr"

	"clipper/api"
	"clipper/controllers/owner"
	"clipper/controllers/pods"
	"clipper/controllers/queue"
)

const (
	workers      = 50 // as many as upstream has: pods that wait for their claims do not start
	fieldManager = "ResourceClaimController"
)

// A Controller does the work of upstream's resource-claim controller.
type Controller struct {
	client    api.Client
	events    pods.Eventer
	pods      api.TypedView[*corev1.Pod]
	claims    api.TypedView[*resourcev1.ResourceClaim]
	templates api.TypedView[*resourcev1.ResourceClaimTemplate]
	queue     *queue.Queue[key]
}

// A key is a pod or a claim that needs work.
type key struct {
	owner.Key
	claim bool
}

// New returns a controller.
func New(c api.Client, events pods.Eventer) *Controller {
	k := &Controller{client: c, events: events, pods: api.Pods.View(c), claims: api.ResourceClaims.View(c), templates: api.ResourceClaimTemplates.View(c)}
	k.queue = queue.New("resource_claim", workers, k.sync)
	return k
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	return k.queue.Run(ctx,
		queue.Source{View: k.pods.View, Handle: k.podChanged},
		queue.Source{View: k.claims.View, Handle: k.claimChanged},
		queue.Source{View: k.templates.View, Handle: k.templateChanged},
	)
}

func (k *Controller) podChanged(e api.Event) {
	pod := e.Object().(*corev1.Pod)
	if len(pod.Spec.ResourceClaims) == 0 && pod.Status.ExtendedResourceClaimStatus == nil {
		return
	}
	if e.Type == api.Deleted || done(pod) {
		for _, name := range claimNames(pod) {
			k.queue.Add(key{owner.Key{Namespace: pod.Namespace, Name: name}, true})
		}
	}
	if e.Type != api.Deleted {
		k.queue.Add(key{owner.KeyOf(pod), false})
	}
}

// claimChanged looks at a claim, and at the pods that name it: one may have been waiting for it.
func (k *Controller) claimChanged(e api.Event) {
	claim := e.Object().(*resourcev1.ResourceClaim)
	if e.Type != api.Deleted {
		k.queue.Add(key{owner.KeyOf(claim), true})
	}
	for _, pod := range k.pods.List(claim.Namespace) {
		if slices.Contains(claimNames(pod), claim.Name) {
			k.queue.Add(key{owner.KeyOf(pod), false})
		}
	}
}

// templateChanged looks at the pods that may have been waiting for a template.
func (k *Controller) templateChanged(e api.Event) {
	if e.Type != api.Added {
		return
	}
	for _, pod := range k.pods.List(e.New.GetNamespace()) {
		if slices.ContainsFunc(pod.Spec.ResourceClaims, func(c corev1.PodResourceClaim) bool {
			return ptr.Deref(c.ResourceClaimTemplateName, "") == e.New.GetName()
		}) {
			k.queue.Add(key{owner.KeyOf(pod), false})
		}
	}
}

// done reports whether a pod will not use its claims any more.
func done(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed ||
		pod.DeletionTimestamp != nil && pod.Spec.NodeName == ""
}

// claimNames lists the claims of a pod that are known.
func claimNames(pod *corev1.Pod) []string {
	var out []string
	for i := range pod.Spec.ResourceClaims {
		if name, _, err := resourceclaim.Name(pod, &pod.Spec.ResourceClaims[i]); err == nil && name != nil {
			out = append(out, *name)
		}
	}
	if s := pod.Status.ExtendedResourceClaimStatus; s != nil {
		out = append(out, s.ResourceClaimName)
	}
	return out
}

func (k *Controller) sync(ctx context.Context, q key) error {
	if q.claim {
		return k.syncClaim(ctx, q.Key)
	}
	return k.syncPod(ctx, q.Key)
}

// syncPod makes the claims that a pod lacks, and reserves those that it has.
func (k *Controller) syncPod(ctx context.Context, q owner.Key) error {
	pod, ok := k.pods.Get(q.Namespace, q.Name)
	if !ok || pod.DeletionTimestamp != nil {
		return nil
	}
	made := map[string]string{}
	for i := range pod.Spec.ResourceClaims {
		entry := &pod.Spec.ResourceClaims[i]
		name, err := k.ensure(ctx, pod, entry)
		if err != nil {
			k.events.Event(pod, corev1.EventTypeWarning, "FailedResourceClaimCreation", "PodResourceClaim %s: %v", entry.Name, err)
			return fmt.Errorf("pod %s, PodResourceClaim %s: %w", q, entry.Name, err)
		}
		if name != "" {
			made[entry.Name] = name
		}
	}
	if len(made) > 0 {
		return k.tell(ctx, pod, made) // which brings the pod here again
	}
	if pod.Spec.NodeName == "" {
		return nil // the scheduler reserves
	}
	return k.reserveAll(ctx, pod)
}

// ensure makes a claim that is to be made for a pod, unless it is there. It returns the name of one that the pod's
// status does not tell of yet.
func (k *Controller) ensure(ctx context.Context, pod *corev1.Pod, entry *corev1.PodResourceClaim) (string, error) {
	name, owned, err := resourceclaim.Name(pod, entry)
	switch {
	case err != nil && !errors.Is(err, resourceclaim.ErrClaimNotFound):
		return "", fmt.Errorf("checking for claim before creating it: %w", err)
	case entry.ResourceClaimTemplateName == nil || err == nil && name == nil:
		return "", nil
	case err == nil:
		if claim, ok := k.claims.Get(pod.Namespace, *name); ok && (!owned || resourceclaim.IsForPod(pod, claim, false) == nil) {
			return "", nil
		}
	}
	for _, claim := range k.claims.List(pod.Namespace) {
		if metav1.IsControlledBy(claim, pod) && claim.Annotations[resourcev1.PodResourceClaimAnnotation] == entry.Name {
			return claim.Name, nil
		}
	}
	template, ok := k.templates.Get(pod.Namespace, *entry.ResourceClaimTemplateName)
	if !ok {
		return "", fmt.Errorf("resource claim template %q: %w", *entry.ResourceClaimTemplateName,
			apierrors.NewNotFound(api.ResourceClaimTemplates.GroupResource(), *entry.ResourceClaimTemplateName))
	}
	claim, err := api.ResourceClaims.Create(ctx, k.client, claimFrom(template, pod, entry))
	if err != nil {
		return "", fmt.Errorf("create ResourceClaim : %w", err) // upstream leaves room for a name that there is not
	}
	return claim.Name, nil
}

// maxBase is how long a generated name may be before its random end.
const maxBase = 57

// claimFrom returns the claim that is made from a template for a pod.
func claimFrom(t *resourcev1.ResourceClaimTemplate, pod *corev1.Pod, entry *corev1.PodResourceClaim) *resourcev1.ResourceClaim {
	name := pod.Name + "-" + entry.Name + "-"
	if n := len(name); n > maxBase {
		name = pod.Name[:len(pod.Name)*maxBase/n] + "-" + entry.Name[:len(entry.Name)*maxBase/n]
	}
	annotations := maps.Clone(t.Spec.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[resourcev1.PodResourceClaimAnnotation] = entry.Name
	return &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, GenerateName: name, Annotations: annotations, Labels: maps.Clone(t.Spec.Labels),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: ptr.To(true)}}},
		Spec: *t.Spec.Spec.DeepCopy(),
	}
}

// tell writes the names of claims into a pod's status, and leaves alone what others wrote there.
func (k *Controller) tell(ctx context.Context, pod *corev1.Pod, made map[string]string) error {
	var list []map[string]string
	for _, entry := range slices.Sorted(maps.Keys(made)) {
		list = append(list, map[string]string{"name": entry, "resourceClaimName": made[entry]})
	}
	patch, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]string{"name": pod.Name, "namespace": pod.Namespace},
		"status":   map[string]any{"resourceClaimStatuses": list}})
	if err != nil {
		return err
	}
	_, err = k.client.Patch(ctx, api.Pods.Resource, pod.Namespace, pod.Name, "status", types.ApplyPatchType, patch,
		metav1.PatchOptions{FieldManager: fieldManager, Force: ptr.To(true)})
	if err != nil {
		return fmt.Errorf("update pod %s/%s ResourceClaimStatuses: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

// reserveAll reserves the claims of a pod that has a node already, as far as they have devices.
func (k *Controller) reserveAll(ctx context.Context, pod *corev1.Pod) error {
	for i := range pod.Spec.ResourceClaims {
		name, owned, err := resourceclaim.Name(pod, &pod.Spec.ResourceClaims[i])
		if err != nil {
			return err
		}
		if name == nil {
			continue
		}
		claim, ok := k.claims.Get(pod.Namespace, *name)
		if !ok {
			return nil
		}
		if owned {
			if err := resourceclaim.IsForPod(pod, claim, false); err != nil {
				return err
			}
		}
		if claim.Status.Allocation == nil || resourceclaim.IsReservedForPod(pod, claim, false) || !resourceclaim.CanBeReserved(claim) {
			continue
		}
		next := claim.DeepCopy()
		next.Status.ReservedFor = append(next.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: pod.Name, UID: pod.UID})
		if _, err := api.ResourceClaims.UpdateStatus(ctx, k.client, next); err != nil {
			return fmt.Errorf("reserve claim %s/%s: %w", claim.Namespace, claim.Name, err)
		}
	}
	return nil
}

// syncClaim takes a claim away from pods that have ended.
func (k *Controller) syncClaim(ctx context.Context, q owner.Key) error {
	claim, ok := k.claims.Get(q.Namespace, q.Name)
	if !ok {
		return nil
	}
	next := release(claim, k.uses)
	if next != nil {
		updated, err := api.ResourceClaims.UpdateStatus(ctx, k.client, next)
		if err != nil {
			return err
		}
		claim = updated
	}
	if slices.Contains(claim.Finalizers, resourcev1.Finalizer) && claim.Status.Allocation == nil && (next != nil || claim.DeletionTimestamp != nil) {
		free := claim.DeepCopy()
		free.Finalizers = slices.DeleteFunc(free.Finalizers, func(f string) bool { return f == resourcev1.Finalizer })
		if _, err := api.ResourceClaims.Update(ctx, k.client, free); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return k.deleteUnused(ctx, claim)
}

// release returns the claim as it should be, nil if it is: without the pods that do not use it, and without devices if
// nobody does any more. Devices that a driver's own controller allocated are that one's to take back.
func release(claim *resourcev1.ResourceClaim, uses func(*resourcev1.ResourceClaim, resourcev1.ResourceClaimConsumerReference) bool) *resourcev1.ResourceClaim {
	remaining := slices.DeleteFunc(slices.Clone(claim.Status.ReservedFor), func(r resourcev1.ResourceClaimConsumerReference) bool { return !uses(claim, r) })
	ours := slices.Contains(claim.Finalizers, resourcev1.Finalizer)
	shrunk := len(remaining) < len(claim.Status.ReservedFor)
	leaving := claim.DeletionTimestamp != nil && claim.Status.Allocation != nil && ours && len(remaining) == 0
	if !shrunk && !leaving {
		return nil
	}
	next := claim.DeepCopy()
	next.Status.ReservedFor = remaining
	if len(remaining) == 0 && ours {
		next.Status.Allocation = nil
	}
	return next
}

// uses reports whether whom a claim is reserved for may still use it.
func (k *Controller) uses(claim *resourcev1.ResourceClaim, r resourcev1.ResourceClaimConsumerReference) bool {
	if r.APIGroup != "" || r.Resource != "pods" {
		return true // not ours to judge
	}
	pod, ok := k.pods.Get(claim.Namespace, r.Name)
	return ok && pod.UID == r.UID && !done(pod)
}

// deleteUnused deletes a claim that was made for a pod that does not need it any more but stays.
func (k *Controller) deleteUnused(ctx context.Context, claim *resourcev1.ResourceClaim) error {
	ref := metav1.GetControllerOfNoCopy(claim)
	if len(claim.Status.ReservedFor) > 0 || ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" {
		return nil
	}
	pod, ok := k.pods.Get(claim.Namespace, ref.Name)
	if !ok || pod.UID == ref.UID && !done(pod) {
		return nil // of a pod that is gone the garbage collector thinks
	}
	if err := api.ResourceClaims.Delete(ctx, k.client, claim.Namespace, claim.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete unused generated claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	return nil
}
