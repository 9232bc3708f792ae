// Package cronjob makes Jobs on a schedule. plan decides at a given time; Controller acts and comes back
// at the next time of the schedule.
package cronjob

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/controllers/owner"
	"clipper/controllers/pods"
	"clipper/controllers/queue"
)

const workers = 5

// A Controller runs CronJobs.
type Controller struct {
	client api.Client
	events pods.Eventer
	queue  *queue.Queue[owner.Key]
	now    func() time.Time
}

// New returns a controller.
func New(c api.Client, events pods.Eventer) *Controller {
	j := &Controller{client: c, events: events, now: time.Now}
	j.queue = queue.New("cronjob", workers, j.sync)
	return j
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	return c.queue.Run(ctx,
		queue.Source{View: c.client.View(api.CronJobs.Resource), Handle: owner.EnqueueObject(c.queue.Add)},
		queue.Source{View: c.client.View(api.Jobs.Resource), Handle: owner.EnqueueController(api.CronJobs.Resource, c.queue.Add, nil)},
	)
}

func (c *Controller) sync(ctx context.Context, k owner.Key) error {
	cj, ok := api.CronJobs.View(c.client).Get(k.Namespace, k.Name)
	if !ok {
		return nil
	}
	p := plan(cj, api.Jobs.View(c.client).ByIndex(api.ByController, string(cj.UID)), c.now())
	for _, e := range p.Events {
		c.events.Event(cj, e.kind, e.reason, "%s", e.message)
	}
	for _, j := range append(p.Stop, p.Delete...) {
		if err := c.delete(ctx, cj, j); err != nil {
			return err
		}
	}
	for _, j := range p.Stop {
		p.drop(j)
	}
	if p.Start != nil {
		if err := c.start(ctx, cj, &p); err != nil {
			return err
		}
	}
	if p.Again > 0 {
		c.queue.AddAfter(k, p.Again)
	}
	return api.WriteStatus(ctx, c.client, api.CronJobs, cj, func(cj *batchv1.CronJob) *batchv1.CronJobStatus { return &cj.Status }, p.Status)
}

func (c *Controller) delete(ctx context.Context, cj *batchv1.CronJob, j *batchv1.Job) error {
	policy := metav1.DeletePropagationBackground
	err := api.Jobs.DeleteThis(ctx, c.client, j, metav1.DeleteOptions{PropagationPolicy: &policy})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		c.events.Event(cj, corev1.EventTypeWarning, "FailedDelete", "Deleted job: %v", err)
		return fmt.Errorf("cronjob %s/%s: delete job %s: %w", cj.Namespace, cj.Name, j.Name, err)
	}
	c.events.Event(cj, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted job %v", j.Name)
	return nil
}

// start makes the job; one that is there already was made before a crash, and only the status lacks it.
func (c *Controller) start(ctx context.Context, cj *batchv1.CronJob, p *Plan) error {
	j, err := api.Jobs.Create(ctx, c.client, p.Start)
	isNew := err == nil
	switch {
	case apierrors.IsAlreadyExists(err):
		if j, err = api.Jobs.Get(ctx, c.client, p.Start.Namespace, p.Start.Name); err != nil {
			return err
		}
		if ref := metav1.GetControllerOf(j); ref == nil || ref.UID != cj.UID {
			return fmt.Errorf("cronjob %s/%s: job %s exists and is another's", cj.Namespace, cj.Name, j.Name)
		}
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	case err != nil:
		c.events.Event(cj, corev1.EventTypeWarning, "FailedCreate", "Error creating job: %v", err)
		return fmt.Errorf("cronjob %s/%s: create job %s: %w", cj.Namespace, cj.Name, p.Start.Name, err)
	default:
		c.events.Event(cj, corev1.EventTypeNormal, "SuccessfulCreate", "Created job %v", j.Name)
	}
	if ended(j) == "" {
		p.Status.Active = append(p.Status.Active, corev1.ObjectReference{
			Kind: api.Jobs.Kind, APIVersion: api.Jobs.GVK().GroupVersion().String(),
			Namespace: j.Namespace, Name: j.Name, UID: j.UID, ResourceVersion: j.ResourceVersion,
		})
	}
	at, err := time.Parse(time.RFC3339, p.Start.Annotations[batchv1.CronJobScheduledTimestampAnnotation])
	if err != nil {
		return err
	}
	if isNew {
		skew.Observe(j.CreationTimestamp.Sub(at).Seconds())
	}
	t := metav1.NewTime(at)
	p.Status.LastScheduleTime = &t
	return nil
}
