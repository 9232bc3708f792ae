// Package job runs pods to completion: parallel, indexed or from a work queue, with limits on failures and
// time. reckon keeps the count of finished pods, plan decides, Controller acts.
package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"

	"clipper/api"
	"clipper/controllers/owner"
	"clipper/controllers/pods"
	"clipper/controllers/queue"
)

const workers = 5

// The pause after a pod's failure; it doubles with each further one. Upstream's figures.
const (
	firstPause = 10 * time.Second
	maxPause   = 10 * time.Minute
)

// A Controller runs Jobs.
type Controller struct {
	client  api.Client
	control pods.Control
	queue   *queue.Queue[owner.Key]
	now     func() time.Time

	mu    sync.Mutex
	fails map[types.UID]failures // of jobs with failures since the last success
}

type failures struct {
	n    int
	last time.Time
}

// New returns a controller.
func New(c api.Client, events pods.Eventer) *Controller {
	j := &Controller{client: c, control: pods.Control{Client: c, Events: events}, now: time.Now, fails: map[types.UID]failures{}}
	j.queue = queue.New("job", workers, j.sync)
	return j
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	return c.queue.Run(ctx,
		queue.Source{View: c.client.View(api.Jobs.Resource), Handle: func(e api.Event) {
			if e.Type == api.Deleted {
				c.forget(e.Old.GetUID())
			}
			c.queue.Add(owner.KeyOf(e.Object()))
		}},
		queue.Source{View: c.client.View(api.Pods.Resource), Handle: owner.EnqueueController(api.Jobs.Resource, c.queue.Add, c.enqueueOrphan)},
	)
}

// enqueueOrphan asks for work on a pod without a job that may have to be let go, and on the jobs that may adopt it.
func (c *Controller) enqueueOrphan(orphan api.Object) {
	if tracked(orphan.(*corev1.Pod)) {
		c.queue.Add(owner.Key{Namespace: orphan.GetNamespace(), Name: strayPrefix + orphan.GetName()})
	}
	owner.EnqueueAdopters(api.Jobs.View(c.client), selector, c.queue.Add)(orphan)
}

func selector(j *batchv1.Job) (labels.Selector, error) {
	return metav1.LabelSelectorAsSelector(j.Spec.Selector)
}

// strayPrefix marks the key of a pod, not of a job, that has the finalizer and no job. No name contains it.
const strayPrefix = "pod/"

func (c *Controller) sync(ctx context.Context, k owner.Key) error {
	if len(k.Name) > len(strayPrefix) && k.Name[:len(strayPrefix)] == strayPrefix {
		p, ok := api.Pods.View(c.client).Get(k.Namespace, k.Name[len(strayPrefix):])
		if ok && metav1.GetControllerOfNoCopy(p) == nil {
			return c.release(ctx, []*corev1.Pod{p})
		}
		return nil
	}
	j, ok := api.Jobs.View(c.client).Get(k.Namespace, k.Name)
	if !ok {
		return c.releaseOrphans(ctx, k)
	}
	if m := j.Spec.ManagedBy; m != nil && *m != batchv1.JobControllerName {
		return nil
	}
	sel, err := selector(j)
	if err != nil {
		return fmt.Errorf("job %s: selector: %w", k, err)
	}
	mine, err := owner.Claim(ctx, c.client, api.Pods.Resource, j, owner.Ref(j, api.Jobs.Resource), sel, owner.Candidates(api.Pods.View(c.client), j))
	if err != nil {
		return err
	}
	if finished(&j.Status) || j.DeletionTimestamp != nil {
		if err := c.release(ctx, mine); err != nil {
			return err
		}
		return c.expire(ctx, j)
	}
	return c.work(ctx, j, mine)
}

// releaseOrphans frees the pods of a job that is gone, so that they can go too.
func (c *Controller) releaseOrphans(ctx context.Context, k owner.Key) error {
	return c.release(ctx, pods.Filter(api.Pods.View(c.client).List(k.Namespace), func(p *corev1.Pod) bool {
		of, ok := owner.Controller(p, api.Jobs.Resource)
		return ok && of == k
	}))
}

// work puts the books in order, then carries out the plan.
func (c *Controller) work(ctx context.Context, j *batchv1.Job, mine []*corev1.Pod) (err error) {
	begun, action := time.Now(), tracking
	defer func() { synced(j, action, time.Since(begun), err) }()
	books := reckon(j, mine)
	if books.write {
		if books.verdict.action == batchv1.PodFailurePolicyActionFailJob {
			set(&books.status, batchv1.JobFailureTarget, "PodFailurePolicy", books.verdict.message, c.now())
		}
		if err := c.writeStatus(ctx, j, books.status); err != nil {
			return err
		}
		c.remember(j.UID, books)
	}
	if len(books.finalize) > 0 {
		if err := c.release(ctx, books.finalize); err != nil {
			return err
		}
	}
	if books.write || len(books.finalize) > 0 {
		c.queue.Add(owner.KeyOf(j)) // the pods have lost their finalizers: count them and go on
		return nil
	}
	w := world{job: j, pods: mine, books: books, backoff: c.backoff(j.UID), now: c.now()}
	p := plan(w)
	action = p.action()
	return c.carryOut(ctx, w, p)
}

func (c *Controller) carryOut(ctx context.Context, w world, p Plan) error {
	j := w.job
	var errs []error
	if find(&p.Status, batchv1.JobFailureTarget) == nil && find(&p.Status, batchv1.JobSuccessCriteriaMet) == nil {
		// Pods taken away before their end are no failures: they leave the books first.
		if err := c.release(ctx, p.Delete); err != nil {
			return err
		}
	}
	for _, pod := range p.Delete {
		errs = append(errs, c.control.Delete(ctx, j, pod))
	}
	made, err := pods.Each(len(p.Create), func(i int) error {
		_, err := c.control.Create(ctx, j, c.pod(w, p.Create[i]))
		return err
	})
	if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		errs = append(errs, err)
	}
	p.Status.Active += int32(made)
	if list := p.Status.UncountedTerminatedPods; list != nil && len(list.Succeeded)+len(list.Failed) == 0 {
		p.Status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	if err := c.writeStatus(ctx, j, p.Status); err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, e := range p.Events {
		c.control.Events.Event(j, e.kind, e.reason, "%s", e.message)
	}
	if p.Again > 0 {
		c.queue.AddAfter(owner.KeyOf(j), p.Again)
	}
	return errors.Join(errs...)
}

// pod makes the pod of an index; -1 for jobs without.
func (c *Controller) pod(w world, index int) *corev1.Pod {
	j := w.job
	p := pods.FromTemplate(&j.Spec.Template, j, owner.Ref(j, api.Jobs.Resource))
	p.Finalizers = append(p.Finalizers, batchv1.JobTrackingFinalizer)
	if index < 0 {
		return p
	}
	text := strconv.Itoa(index)
	metav1.SetMetaDataAnnotation(&p.ObjectMeta, batchv1.JobCompletionIndexAnnotation, text)
	metav1.SetMetaDataLabel(&p.ObjectMeta, batchv1.JobCompletionIndexAnnotation, text)
	if j.Spec.BackoffLimitPerIndex != nil {
		metav1.SetMetaDataAnnotation(&p.ObjectMeta, batchv1.JobIndexFailureCountAnnotation, strconv.Itoa(nextFailureCount(w.pods, index)))
	}
	p.Spec.Hostname = j.Name + "-" + text
	p.GenerateName = ""
	base := j.Name + "-" + text + "-"
	p.Name = base[:min(len(base), 63-5)] + rand.String(5)
	for i := range p.Spec.InitContainers {
		addIndexEnv(&p.Spec.InitContainers[i])
	}
	for i := range p.Spec.Containers {
		addIndexEnv(&p.Spec.Containers[i])
	}
	return p
}

func nextFailureCount(all []*corev1.Pod, index int) int {
	n := 0
	for _, p := range all {
		if indexOf(p) == index && (pods.Finished(p) || p.DeletionTimestamp != nil) {
			n = max(n, failureCount(p)+1)
		}
	}
	return n
}

func addIndexEnv(ct *corev1.Container) {
	const name = "JOB_COMPLETION_INDEX"
	if slices.ContainsFunc(ct.Env, func(e corev1.EnvVar) bool { return e.Name == name }) {
		return
	}
	ct.Env = append(ct.Env, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['" + batchv1.JobCompletionIndexAnnotation + "']"}}})
}

// release takes the finalizer off pods.
func (c *Controller) release(ctx context.Context, all []*corev1.Pod) error {
	open := pods.Filter(all, tracked)
	_, err := pods.Each(len(open), func(i int) error {
		p := open[i]
		left := slices.DeleteFunc(slices.Clone(p.Finalizers), func(f string) bool { return f == batchv1.JobTrackingFinalizer })
		data, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.UID, "resourceVersion": p.ResourceVersion, "finalizers": left}})
		if err != nil {
			return err
		}
		_, err = api.Pods.Patch(ctx, c.client, p.Namespace, p.Name, "", types.MergePatchType, data)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
	return err
}

// expire deletes a finished job when its time to live is over.
func (c *Controller) expire(ctx context.Context, j *batchv1.Job) error {
	c.forget(j.UID)
	ttl := j.Spec.TTLSecondsAfterFinished
	if ttl == nil || j.DeletionTimestamp != nil {
		return nil
	}
	end := find(&j.Status, batchv1.JobComplete)
	if end == nil {
		end = find(&j.Status, batchv1.JobFailed)
	}
	if left := end.LastTransitionTime.Add(time.Duration(*ttl) * time.Second).Sub(c.now()); left > 0 {
		c.queue.AddAfter(owner.KeyOf(j), left)
		return nil
	}
	policy := metav1.DeletePropagationForeground
	err := api.Jobs.DeleteThis(ctx, c.client, j, metav1.DeleteOptions{PropagationPolicy: &policy})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("job %s/%s: delete after its time to live: %w", j.Namespace, j.Name, err)
	}
	return nil
}

func (c *Controller) writeStatus(ctx context.Context, j *batchv1.Job, st batchv1.JobStatus) error {
	err := api.WriteStatus(ctx, c.client, api.Jobs, j, func(j *batchv1.Job) *batchv1.JobStatus { return &j.Status }, st)
	if err == nil {
		progressed(j, &st)
	}
	return err
}

// remember keeps the failures since the last success, for the pause before the next pod.
func (c *Controller) remember(uid types.UID, books account) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.fails[uid]
	if books.success {
		f = failures{}
	}
	for _, at := range books.failures {
		f.n++
		if at.After(f.last) {
			f.last = at
		}
	}
	if f.n > 0 {
		c.fails[uid] = f
	} else {
		delete(c.fails, uid)
	}
}

func (c *Controller) forget(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.fails, uid)
}

func (c *Controller) backoff(uid types.UID) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.fails[uid]
	if f.n == 0 {
		return 0
	}
	return max(0, f.last.Add(pause(f.n)).Sub(c.now()))
}
