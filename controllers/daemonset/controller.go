// Package daemonset keeps one pod of every DaemonSet on each suitable node. The pods are bound by the
// scheduler, to which their node affinity leaves no choice. plan decides; Controller acts.
package daemonset

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/util/flowcontrol"

	"clipper/api"
	"clipper/controllers/history"
	"clipper/controllers/owner"
	"clipper/controllers/pods"
	"clipper/controllers/queue"
)

const workers = 2

// The pause before a failed daemon is replaced on its node. Upstream's figures.
const (
	firstPause = time.Second
	maxPause   = 15 * time.Minute
)

// A Controller keeps DaemonSets.
type Controller struct {
	client  api.Client
	control pods.Control
	queue   *queue.Queue[owner.Key]
	pauses  *flowcontrol.Backoff // by set, its generation and node
	now     func() time.Time
}

// New returns a controller.
func New(c api.Client, events pods.Eventer) *Controller {
	d := &Controller{
		client: c, control: pods.Control{Client: c, Events: events}, now: time.Now,
		pauses: flowcontrol.NewBackOff(firstPause, maxPause),
	}
	d.queue = queue.New("daemonset", workers, d.sync)
	return d
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	adopters := owner.EnqueueAdopters(api.DaemonSets.View(c.client), selector, c.queue.Add)
	return c.queue.Run(ctx,
		queue.Source{View: c.client.View(api.DaemonSets.Resource), Handle: owner.EnqueueObject(c.queue.Add)},
		queue.Source{View: c.client.View(api.Pods.Resource), Handle: owner.EnqueueController(api.DaemonSets.Resource, c.queue.Add, adopters)},
		queue.Source{View: c.client.View(api.ControllerRevisions.Resource), Handle: owner.EnqueueController(api.DaemonSets.Resource, c.queue.Add, nil)},
		queue.Source{View: c.client.View(api.Nodes.Resource), Handle: c.nodeChanged},
	)
}

func selector(ds *appsv1.DaemonSet) (labels.Selector, error) {
	return metav1.LabelSelectorAsSelector(ds.Spec.Selector)
}

// nodeChanged looks at all sets, but not for a heartbeat: only labels and taints decide.
func (c *Controller) nodeChanged(e api.Event) {
	if e.Type == api.Modified {
		a, b := e.Old.(*corev1.Node), e.New.(*corev1.Node)
		if labels.Equals(a.Labels, b.Labels) && apiequality.Semantic.DeepEqual(a.Spec.Taints, b.Spec.Taints) {
			return
		}
	}
	for _, ds := range api.DaemonSets.View(c.client).List("") {
		c.queue.Add(owner.KeyOf(ds))
	}
}

func (c *Controller) sync(ctx context.Context, k owner.Key) error {
	ds, ok := api.DaemonSets.View(c.client).Get(k.Namespace, k.Name)
	if !ok {
		return nil
	}
	sel, err := selector(ds)
	if err != nil {
		return fmt.Errorf("daemonset %s: selector: %w", k, err)
	}
	if sel.Empty() {
		c.control.Events.Event(ds, corev1.EventTypeWarning, "SelectingAll", "This daemon set is selecting all pods. A non-empty selector is required.")
		return nil
	}
	mine, err := owner.Claim(ctx, c.client, api.Pods.Resource, ds, owner.Ref(ds, api.DaemonSets.Resource), sel, owner.Candidates(api.Pods.View(c.client), ds))
	if err != nil {
		return err
	}
	w := world{ds: ds, nodes: api.Nodes.View(c.client).List(""), pods: mine, now: c.now()}
	w.mayReplace = func(node string) time.Duration { return c.pause(ds, node) }
	w.hash = ds.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]
	if ds.DeletionTimestamp == nil {
		current, err := c.revision(ctx, ds, mine)
		if err != nil || current == nil {
			return err
		}
		w.hash = current.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]
	}
	return c.carryOut(ctx, w, plan(w))
}

// revision returns the record of the present template and drops old ones.
func (c *Controller) revision(ctx context.Context, ds *appsv1.DaemonSet, mine []*corev1.Pod) (*appsv1.ControllerRevision, error) {
	p := history.Parent{
		Object: ds, Resource: api.DaemonSets.Resource, Template: &ds.Spec.Template, Selector: ds.Spec.Selector,
		Label: appsv1.DefaultDaemonSetUniqueLabelKey,
		Hash:  func([]byte) string { return history.TemplateHash(&ds.Spec.Template, ds.Status.CollisionCount) },
	}
	all, err := history.List(ctx, c.client, p)
	if err != nil {
		return nil, err
	}
	current, all, err := history.Current(ctx, c.client, p, all)
	switch {
	case errors.Is(err, history.ErrCollision):
		st := *ds.Status.DeepCopy()
		st.CollisionCount = history.Collided(st.CollisionCount)
		return nil, c.writeStatus(ctx, ds, st)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil, nil
	case err != nil:
		return nil, err
	}
	used := map[string]bool{current.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]: true}
	for _, pod := range mine {
		used[pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]] = true
	}
	if ds.Spec.RevisionHistoryLimit == nil {
		return current, nil
	}
	return current, history.Truncate(ctx, c.client, all, *ds.Spec.RevisionHistoryLimit, func(r *appsv1.ControllerRevision) bool {
		return used[r.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]]
	})
}

// pause says how long a failed pod on node must still wait to be replaced, and starts the next pause.
func (c *Controller) pause(ds *appsv1.DaemonSet, node string) time.Duration {
	key := fmt.Sprintf("%s/%d/%s", ds.UID, ds.Status.ObservedGeneration, node)
	if c.pauses.IsInBackOffSinceUpdate(key, c.now()) {
		return c.pauses.Get(key)
	}
	c.pauses.Next(key, c.now())
	c.pauses.GC()
	return 0
}

func (c *Controller) carryOut(ctx context.Context, w world, p Plan) error {
	ds := w.ds
	for _, e := range p.Events {
		c.control.Events.Event(ds, e.kind, e.reason, "%s", e.message)
	}
	var errs []error
	for _, pod := range p.Delete {
		errs = append(errs, c.control.Delete(ctx, ds, pod))
	}
	_, err := pods.Each(len(p.Create), func(i int) error {
		_, err := c.control.Create(ctx, ds, podFor(ds, w.hash, p.Create[i]))
		return err
	})
	if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		errs = append(errs, err)
	}
	if p.Again > 0 {
		c.queue.AddAfter(owner.KeyOf(ds), p.Again)
	}
	errs = append(errs, c.writeStatus(ctx, ds, p.Status))
	return errors.Join(errs...)
}

func (c *Controller) writeStatus(ctx context.Context, ds *appsv1.DaemonSet, st appsv1.DaemonSetStatus) error {
	return api.OverwriteStatus(ctx, c.client, api.DaemonSets, ds, func(ds *appsv1.DaemonSet) *appsv1.DaemonSetStatus { return &ds.Status }, st)
}
