// Package limitranger applies a namespace's LimitRanges: it fills in the requests and limits that a
// container leaves out, and refuses pods and claims that are too small, too large or too uneven.
package limitranger

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/apiserver/admission"
)

// annotation says on a pod what was filled in.
const annotation = "kubernetes.io/limit-ranger"

// A Plugin is the admission plug-in.
type Plugin struct {
	ranges api.TypedView[*corev1.LimitRange]
}

// New returns the plug-in over the limit ranges that c sees.
func New(c api.Client) *Plugin { return &Plugin{api.LimitRanges.View(c)} }

// Admit fills in what containers leave out. It runs before the pod's own limits become its requests for
// what has no request: that happened in defaulting.
func (p *Plugin) Admit(_ context.Context, a *admission.Attributes) error {
	if !sized(a) || dying(a) {
		return nil
	}
	for _, lr := range p.ranges.List(a.Namespace) {
		fill(a.Object.(*corev1.Pod), lr)
	}
	return nil
}

// Validate refuses what no LimitRange allows.
func (p *Plugin) Validate(_ context.Context, a *admission.Attributes) error {
	var check func(*corev1.LimitRange) error
	switch {
	case dying(a):
		return nil
	case sized(a):
		pod := a.Object.(*corev1.Pod)
		check = func(lr *corev1.LimitRange) error { return checkPod(pod, lr) }
	case (a.Operation == admission.Create || a.Operation == admission.Update) && a.Is("", "persistentvolumeclaims"):
		claim := a.Object.(*corev1.PersistentVolumeClaim)
		check = func(lr *corev1.LimitRange) error { return checkClaim(claim, lr) }
	default:
		return nil
	}
	for _, lr := range p.ranges.List(a.Namespace) {
		if err := check(lr); err != nil {
			return a.Forbidden(err)
		}
	}
	return nil
}

// sized says whether the write decides what a pod's containers get.
func sized(a *admission.Attributes) bool {
	return a.Operation == admission.Create && a.Is("", "pods") || a.Operation == admission.Update && a.IsSub("", "pods", "resize")
}

// dying says whether the object is on its way out: then nothing must hold it up.
func dying(a *admission.Attributes) bool { return a.Old != nil && a.Old.GetDeletionTimestamp() != nil }

// fill gives a pod's containers the defaults of lr.
func fill(pod *corev1.Pod, lr *corev1.LimitRange) {
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	for _, item := range lr.Spec.Limits {
		if item.Type != corev1.LimitTypeContainer {
			continue
		}
		for k, v := range item.DefaultRequest {
			requests[k] = v
		}
		for k, v := range item.Default {
			limits[k] = v
		}
	}
	if len(requests)+len(limits) == 0 {
		return
	}
	var notes []string
	for i := range pod.Spec.Containers {
		notes = fillContainer(notes, "container", &pod.Spec.Containers[i], requests, limits)
	}
	for i := range pod.Spec.InitContainers {
		notes = fillContainer(notes, "init container", &pod.Spec.InitContainers[i], requests, limits)
	}
	if len(notes) > 0 {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[annotation] = "LimitRanger plugin set: " + strings.Join(notes, "; ")
	}
}

func fillContainer(notes []string, what string, c *corev1.Container, requests, limits corev1.ResourceList) []string {
	note := func(kind string, set []string) {
		if len(set) > 0 {
			slices.Sort(set)
			notes = append(notes, fmt.Sprintf("%s %s for %s %s", strings.Join(set, ", "), kind, what, c.Name))
		}
	}
	note("request", fillList(&c.Resources.Requests, requests))
	note("limit", fillList(&c.Resources.Limits, limits))
	return notes
}

func fillList(to *corev1.ResourceList, from corev1.ResourceList) (set []string) {
	for k, v := range from {
		if _, ok := (*to)[k]; ok {
			continue
		}
		if *to == nil {
			*to = corev1.ResourceList{}
		}
		(*to)[k] = v.DeepCopy()
		set = append(set, string(k))
	}
	return set
}
