package deployment

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
)

// A world is all that a decision depends on. Everything in it is read-only.
type world struct {
	d       *appsv1.Deployment
	sets    []*appsv1.ReplicaSet                // that d controls, oldest first
	oldPods func(newSet *appsv1.ReplicaSet) int // unfinished pods, terminating ones included, outside of newSet
	now     time.Time
}

// A Plan is one step of a rollout. The next follows when its effects show.
type Plan struct {
	Create   *appsv1.ReplicaSet   // the set of the present template
	Update   []*appsv1.ReplicaSet // sets with new annotations or minReadySeconds
	Scale    []Scale
	Delete   []*appsv1.ReplicaSet // beyond the history limit
	Revision string               // the annotation that the Deployment should bear; "" for the one it has
	Status   appsv1.DeploymentStatus
	Again    time.Duration // when to look at the progress deadline; 0: no need
}

// A Scale gives a set another size; sets whose size stays get their annotations renewed.
type Scale struct {
	Set  *appsv1.ReplicaSet
	Size int32
}

// plan decides the next step.
func plan(w world) Plan {
	newSet := findNew(w.d, w.sets)
	old := without(w.sets, newSet)
	p := Plan{}
	if w.d.DeletionTimestamp == nil {
		switch {
		case w.d.Spec.Paused || isScaling(w.d, w.sets):
			if newSet != nil {
				p.adoptRevision(w, newSet, old)
			}
			p.scale(w.d, newSet, old)
			if w.d.Spec.Paused {
				p.cleanUp(w.d, old)
			}
			p.Status = status(w.d, w.sets, newSet, w.now)
			p.Status.Conditions = pauseCondition(w.d, p.Status.Conditions, w.now)
			return p
		case w.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
			p.recreate(w, newSet, old)
		default:
			p.roll(w, newSet, old)
		}
	}
	p.Status, p.Again = rolloutStatus(w.d, w.sets, newSet, w.now)
	p.Status.Conditions = pauseCondition(w.d, p.Status.Conditions, w.now)
	return p
}

// idle says whether nothing but the status is left to do.
func (p *Plan) idle() bool {
	return p.Create == nil && len(p.Update) == 0 && len(p.Scale) == 0 && p.Revision == ""
}

// recreate lets the old pods end before the first new one is made.
func (p *Plan) recreate(w world, newSet *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	if newSet != nil {
		if p.adoptRevision(w, newSet, old); !p.idle() {
			return
		}
	}
	for _, rs := range active(old) {
		p.Scale = append(p.Scale, Scale{rs, 0})
	}
	if len(p.Scale) > 0 || w.oldPods(newSet) > 0 {
		return
	}
	if newSet == nil {
		p.create(w, old)
		return
	}
	p.resize(w.d, newSet, *w.d.Spec.Replicas)
	if p.idle() && complete(w.d, &w.d.Status) {
		p.cleanUp(w.d, old)
	}
}

// roll replaces old pods by new ones within the limits of surge and unavailability.
func (p *Plan) roll(w world, newSet *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	if newSet == nil {
		p.create(w, old)
		return
	}
	if p.adoptRevision(w, newSet, old); !p.idle() {
		return
	}
	want := *w.d.Spec.Replicas
	if *newSet.Spec.Replicas < want {
		want = newSize(w.d, w.sets, *newSet.Spec.Replicas)
	}
	if p.resize(w.d, newSet, want); len(p.Scale) > 0 {
		return
	}
	if p.shrinkOld(w.d, newSet, active(old)); len(p.Scale) > 0 {
		return
	}
	if complete(w.d, &w.d.Status) {
		p.cleanUp(w.d, old)
	}
}

// create makes the set of the present template.
func (p *Plan) create(w world, old []*appsv1.ReplicaSet) {
	rs := newReplicaSet(w.d)
	size := newSize(w.d, w.sets, 0)
	rs.Spec.Replicas = &size
	rs.Annotations = map[string]string{}
	setAnnotations(w.d, rs, nextRevision(old))
	setSizeAnnotations(w.d, rs)
	p.Create, p.Revision = rs, revisionToSet(w.d, rs)
}

// adoptRevision gives the set of the present template the highest revision, and the Deployment the same:
// after a rollback an old set is the new one.
func (p *Plan) adoptRevision(w world, newSet *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	rs := newSet.DeepCopy()
	if rs.Annotations == nil {
		rs.Annotations = map[string]string{}
	}
	changed := setAnnotations(w.d, rs, nextRevision(old))
	if rs.Spec.MinReadySeconds != w.d.Spec.MinReadySeconds {
		rs.Spec.MinReadySeconds = w.d.Spec.MinReadySeconds
		changed = true
	}
	if changed {
		p.Update = append(p.Update, rs)
	}
	p.Revision = revisionToSet(w.d, rs)
}

func (p *Plan) resize(d *appsv1.Deployment, rs *appsv1.ReplicaSet, size int32) {
	if *rs.Spec.Replicas != size || sizeAnnotationsDiffer(d, rs) {
		p.Scale = append(p.Scale, Scale{rs, size})
	}
}

// cleanUp deletes the oldest sets without pods that exceed the history limit.
func (p *Plan) cleanUp(d *appsv1.Deployment, old []*appsv1.ReplicaSet) {
	if d.Spec.RevisionHistoryLimit == nil {
		return
	}
	alive := slices.DeleteFunc(slices.Clone(old), func(rs *appsv1.ReplicaSet) bool { return rs.DeletionTimestamp != nil })
	surplus := len(alive) - int(*d.Spec.RevisionHistoryLimit)
	if surplus <= 0 {
		return
	}
	slices.SortStableFunc(alive, func(a, b *appsv1.ReplicaSet) int { return int(revision(a) - revision(b)) })
	for _, rs := range alive[:surplus] {
		if rs.Status.Replicas == 0 && *rs.Spec.Replicas == 0 && rs.Generation <= rs.Status.ObservedGeneration {
			p.Delete = append(p.Delete, rs)
		}
	}
}

func active(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	var out []*appsv1.ReplicaSet
	for _, rs := range sets {
		if *rs.Spec.Replicas > 0 {
			out = append(out, rs)
		}
	}
	return out
}

func without(sets []*appsv1.ReplicaSet, not *appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	var out []*appsv1.ReplicaSet
	for _, rs := range sets {
		if rs != not {
			out = append(out, rs)
		}
	}
	return out
}

// byAge orders sets by creation, then name.
func byAge(a, b *appsv1.ReplicaSet) int {
	if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
		return c
	}
	if a.Name < b.Name {
		return -1
	}
	return 1
}
