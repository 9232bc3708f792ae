package deployment

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/controllers/history"
	"clipper/controllers/owner"
)

// The annotations that make up a rollout's memory; kubectl reads the first two.
const (
	revisionAnnotation = "deployment.kubernetes.io/revision"
	historyAnnotation  = "deployment.kubernetes.io/revision-history"
	desiredAnnotation  = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation      = "deployment.kubernetes.io/max-replicas"
	rollbackAnnotation = "deprecated.deployment.rollback.to"

	historyChars = 2000 // of the history annotation; older revisions fall out
)

// notCopied are the Deployment's annotations that its sets do not inherit.
var notCopied = []string{
	corev1.LastAppliedConfigAnnotation, revisionAnnotation, historyAnnotation, desiredAnnotation, maxAnnotation, rollbackAnnotation,
}

// findNew returns the oldest set with d's template, or nil.
func findNew(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	for _, rs := range sets {
		if sameTemplate(&rs.Spec.Template, &d.Spec.Template) {
			return rs
		}
	}
	return nil
}

// sameTemplate compares templates but for the hash label.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	x, y := *a, *b // shallow: only the label maps are replaced
	x.Labels, y.Labels = withoutHash(a.Labels), withoutHash(b.Labels)
	return apiequality.Semantic.DeepEqual(&x, &y)
}

func withoutHash(in map[string]string) map[string]string {
	out := maps.Clone(in)
	delete(out, appsv1.DefaultDeploymentUniqueLabelKey)
	return out
}

// newReplicaSet makes the set of d's template. Its name and label derive from the template's hash, so that
// making it twice gives the same; the collision count tells apart templates that hash alike.
func newReplicaSet(d *appsv1.Deployment) *appsv1.ReplicaSet {
	tpl := *d.Spec.Template.DeepCopy()
	hash := history.TemplateHash(&tpl, d.Status.CollisionCount)
	tpl.Labels = withLabel(tpl.Labels, hash)
	sel := d.Spec.Selector.DeepCopy()
	sel.MatchLabels = withLabel(sel.MatchLabels, hash)
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: d.Name + "-" + hash, Namespace: d.Namespace, Labels: maps.Clone(tpl.Labels),
			OwnerReferences: []metav1.OwnerReference{*owner.Ref(d, api.Deployments.Resource)},
		},
		Spec: appsv1.ReplicaSetSpec{MinReadySeconds: d.Spec.MinReadySeconds, Selector: sel, Template: tpl},
	}
}

func withLabel(in map[string]string, hash string) map[string]string {
	out := maps.Clone(in)
	if out == nil {
		out = map[string]string{}
	}
	out[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	return out
}

func number(rs *appsv1.ReplicaSet, annotation string) (int32, bool) {
	n, err := strconv.ParseInt(rs.Annotations[annotation], 10, 32)
	return int32(n), err == nil
}

func revision(rs *appsv1.ReplicaSet) int64 {
	n, _ := strconv.ParseInt(rs.Annotations[revisionAnnotation], 10, 64)
	return n
}

func nextRevision(old []*appsv1.ReplicaSet) int64 {
	most := int64(0)
	for _, rs := range old {
		most = max(most, revision(rs))
	}
	return most + 1
}

// setAnnotations gives rs d's annotations and, if it is higher than rs' own, the revision.
func setAnnotations(d *appsv1.Deployment, rs *appsv1.ReplicaSet, rev int64) (changed bool) {
	for k, v := range d.Annotations {
		if slices.Contains(notCopied, k) {
			continue
		}
		if have, ok := rs.Annotations[k]; !ok || have != v {
			rs.Annotations[k] = v
			changed = true
		}
	}
	before, had := rs.Annotations[revisionAnnotation]
	if had && revision(rs) >= rev {
		return changed
	}
	rs.Annotations[revisionAnnotation] = strconv.FormatInt(rev, 10)
	if had {
		rs.Annotations[historyAnnotation] = appendHistory(rs.Annotations[historyAnnotation], before)
	}
	return true
}

func appendHistory(past, revision string) string {
	if past == "" {
		return revision
	}
	all := strings.Split(past+","+revision, ",")
	for len(all) > 1 && len(strings.Join(all, ",")) > historyChars {
		all = all[1:]
	}
	return strings.Join(all, ",")
}

// revisionToSet returns rs' revision if d does not bear it yet.
func revisionToSet(d *appsv1.Deployment, rs *appsv1.ReplicaSet) string {
	if rev := rs.Annotations[revisionAnnotation]; d.Annotations[revisionAnnotation] != rev {
		return rev
	}
	return ""
}

func sizeAnnotations(d *appsv1.Deployment) (desired, most string) {
	surge, _ := limits(d)
	return fmt.Sprint(*d.Spec.Replicas), fmt.Sprint(*d.Spec.Replicas + surge)
}

func sizeAnnotationsDiffer(d *appsv1.Deployment, rs *appsv1.ReplicaSet) bool {
	desired, most := sizeAnnotations(d)
	return rs.Annotations[desiredAnnotation] != desired || rs.Annotations[maxAnnotation] != most
}

func setSizeAnnotations(d *appsv1.Deployment, rs *appsv1.ReplicaSet) {
	if rs.Annotations == nil {
		rs.Annotations = map[string]string{}
	}
	rs.Annotations[desiredAnnotation], rs.Annotations[maxAnnotation] = sizeAnnotations(d)
}
