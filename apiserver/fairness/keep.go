package fairness

import (
	"context"
	"maps"
	"strconv"

	"golang.org/x/sync/errgroup"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"

	"clipper/api"
)

const keepManager = "api-priority-and-fairness-config-producer-v1"

// keep makes the objects that every cluster has be there. Mandatory ones have the spec that upstream says;
// suggested ones, too, as long as nobody has taken them over. Those that upstream no longer suggests go.
func (c *Controller) keep(ctx context.Context) {
	const parallel = 8
	k := &keeper{client: c.config.Client}
	k.group, k.ctx = errgroup.WithContext(ctx)
	k.group.SetLimit(parallel)
	keepAll(k, api.PriorityLevelConfigurations, bootstrap.MandatoryPriorityLevelConfigurations, bootstrap.SuggestedPriorityLevelConfigurations, levelWith)
	keepAll(k, api.FlowSchemas, bootstrap.MandatoryFlowSchemas, bootstrap.SuggestedFlowSchemas, schemaWith)
	if err := k.group.Wait(); err != nil && ctx.Err() == nil {
		c.config.Log.Warn("objects of priority and fairness not kept; trying again in a while", "err", err)
	}
}

type keeper struct {
	client api.Client
	group  *errgroup.Group
	ctx    context.Context
}

// keepAll keeps all objects of one kind. with returns have with the spec of want, nil if it has it.
func keepAll[T api.Object](k *keeper, kind api.Kind[T], mandatory, suggested []T, with func(have, want T) (T, bool)) {
	view := kind.View(k.client)
	known := map[string]bool{}
	one := func(want T, always bool) {
		known[want.GetName()] = true
		k.group.Go(func() error {
			have, ok := view.Get("", want.GetName())
			if !ok {
				_, err := k.client.Create(k.ctx, kind.Resource, want, metav1.CreateOptions{FieldManager: keepManager})
				if apierrors.IsAlreadyExists(err) {
					err = nil // another server was faster
				}
				return err
			}
			next, changed := restored(have, want, always, with)
			if !changed {
				return nil
			}
			_, err := k.client.Update(k.ctx, kind.Resource, "", next, metav1.UpdateOptions{FieldManager: keepManager})
			return err
		})
	}
	for _, want := range mandatory {
		one(want, true)
	}
	for _, want := range suggested {
		one(want, false)
	}
	for _, have := range view.List("") {
		if ours, err := strconv.ParseBool(have.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey]); err != nil || !ours || known[have.GetName()] {
			continue
		}
		k.group.Go(func() error {
			err := k.client.Delete(k.ctx, kind.Resource, "", have.GetName(), metav1.DeleteOptions{})
			if apierrors.IsNotFound(err) {
				err = nil
			}
			return err
		})
	}
}

// restored returns what have becomes, if it must change. The annotation says whose the spec is; without it
// an object that nobody has changed is ours.
func restored[T api.Object](have, want T, always bool, with func(have, want T) (T, bool)) (next T, changed bool) {
	said, err := strconv.ParseBool(have.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey])
	ours := always || err == nil && said || err != nil && have.GetGeneration() == 1
	next = have
	if ours {
		next, changed = with(have, want)
	}
	if err == nil && said == ours {
		return next, changed
	}
	if !changed {
		next = have.DeepCopyObject().(T)
	}
	annotations := maps.Clone(next.GetAnnotations())
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[flowcontrolv1.AutoUpdateAnnotationKey] = strconv.FormatBool(ours)
	next.SetAnnotations(annotations)
	return next, true
}

func schemaWith(have, want *flowcontrolv1.FlowSchema) (*flowcontrolv1.FlowSchema, bool) {
	if equality.Semantic.DeepEqual(have.Spec, want.Spec) {
		return have, false
	}
	next := have.DeepCopy()
	want.Spec.DeepCopyInto(&next.Spec)
	return next, true
}

// levelWith leaves the figures of the exempt level alone: they are the administrator's.
func levelWith(have, want *flowcontrolv1.PriorityLevelConfiguration) (*flowcontrolv1.PriorityLevelConfiguration, bool) {
	spec := want.Spec.DeepCopy()
	if want.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt && have.Spec.Exempt != nil {
		spec.Exempt = have.Spec.Exempt.DeepCopy()
	}
	if equality.Semantic.DeepEqual(have.Spec, *spec) {
		return have, false
	}
	next := have.DeepCopy()
	next.Spec = *spec
	return next, true
}
