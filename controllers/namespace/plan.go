package namespace

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"clipper/api"
)

// content is what a namespace holds of one resource.
type content struct {
	resource  api.Resource
	objects   []api.Object
	elsewhere bool // on an extension server
}

// trouble is what keeps a pass from emptying the namespace, apart from finalizers.
type trouble struct {
	discovery error // extension servers that could not be asked what they have
	content   []error
}

func (t trouble) err() error { return errors.Join(append(t.content, t.discovery)...) }

// unknown says in upstream's words what could not be asked.
func (t trouble) unknown() string {
	if failed, ok := errors.AsType[*discovery.ErrGroupDiscoveryFailed](t.discovery); ok {
		return fmt.Sprintf("Discovery failed for some groups, %d failing: %v", len(failed.Groups), failed)
	}
	return t.discovery.Error()
}

// next returns what is to be deleted now. Pods go first and alone: what they still do on their way out may
// need the config maps, policies and services around them.
func next(all []content) []content {
	for _, c := range all {
		if c.resource == api.Pods.Resource && len(c.objects) > 0 {
			return []content{c}
		}
	}
	return all
}

// conditions says in upstream's words how far the deletion has come. t is of this pass.
func conditions(left []content, t trouble, now metav1.Time) []corev1.NamespaceCondition {
	ok := func(t corev1.NamespaceConditionType, reason, message string) corev1.NamespaceCondition {
		return corev1.NamespaceCondition{Type: t, Status: corev1.ConditionFalse, Reason: reason, Message: message, LastTransitionTime: now}
	}
	out := []corev1.NamespaceCondition{
		ok(corev1.NamespaceDeletionDiscoveryFailure, "ResourcesDiscovered", "All resources successfully discovered"),
		ok(corev1.NamespaceDeletionGVParsingFailure, "ParsedGroupVersions", "All legacy kube types successfully parsed"),
		ok(corev1.NamespaceDeletionContentFailure, "ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
		ok(corev1.NamespaceContentRemaining, "ContentRemoved", "All content successfully removed"),
		ok(corev1.NamespaceFinalizersRemaining, "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
	}
	set := func(i int, reason, message string) {
		out[i].Status, out[i].Reason, out[i].Message = corev1.ConditionTrue, reason, message
	}
	if t.discovery != nil {
		set(0, "DiscoveryFailed", t.unknown())
	}
	if len(t.content) > 0 {
		var texts []string
		for _, err := range t.content {
			texts = append(texts, err.Error())
		}
		slices.Sort(texts)
		set(2, "ContentDeletionFailed", fmt.Sprintf("Failed to delete all resource types, %d remaining: %s", len(t.content), strings.Join(texts, ", ")))
	}
	remaining, finalizers := count(left)
	if len(remaining) > 0 {
		set(3, "SomeResourcesRemain", "Some resources are remaining: "+strings.Join(remaining, ", "))
	}
	if len(finalizers) > 0 {
		set(4, "SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: "+strings.Join(finalizers, ", "))
	}
	return out
}

// count describes what is left, by resource and by finalizer.
func count(left []content) (resources, finalizers []string) {
	byFinalizer := map[string]int{}
	byResource := map[schema.GroupResource]int{}
	for _, c := range left {
		for _, o := range c.objects {
			byResource[c.resource.GroupResource()]++
			for _, f := range o.GetFinalizers() {
				byFinalizer[f]++
			}
		}
	}
	for gr, n := range byResource {
		resources = append(resources, fmt.Sprintf("%s.%s has %d resource instances", gr.Resource, gr.Group, n))
	}
	for f, n := range byFinalizer {
		finalizers = append(finalizers, fmt.Sprintf("%s in %d resource instances", f, n))
	}
	slices.Sort(resources)
	slices.Sort(finalizers)
	return resources, finalizers
}

// merge puts the new conditions into the old ones, keeping the time of those whose status stays.
func merge(old, next []corev1.NamespaceCondition) (out []corev1.NamespaceCondition, changed bool) {
	out = slices.Clone(old)
	for _, n := range next {
		i := slices.IndexFunc(out, func(c corev1.NamespaceCondition) bool { return c.Type == n.Type })
		if i < 0 {
			out, changed = append(out, n), true
			continue
		}
		if out[i].Status == n.Status {
			n.LastTransitionTime = out[i].LastTransitionTime
		}
		if out[i] != n {
			out[i], changed = n, true
		}
	}
	return out, changed
}
