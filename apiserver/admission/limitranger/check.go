package limitranger

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	resourcehelper "k8s.io/component-helpers/resource"
)

// A constraint compares what an object asks for with one figure of a LimitRange.
type constraint func(kind corev1.LimitType, name corev1.ResourceName, bound resource.Quantity, requests, limits corev1.ResourceList) error

// each applies a constraint to every figure, in order of name.
func each(errs []error, c constraint, kind corev1.LimitType, bounds, requests, limits corev1.ResourceList) []error {
	for _, name := range slices.Sorted(maps.Keys(bounds)) {
		if err := c(kind, name, bounds[name], requests, limits); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func checkPod(pod *corev1.Pod, lr *corev1.LimitRange) error {
	var errs []error
	for _, item := range lr.Spec.Limits {
		all := func(requests, limits corev1.ResourceList) {
			errs = each(errs, minimum, item.Type, item.Min, requests, limits)
			errs = each(errs, maximum, item.Type, item.Max, requests, limits)
			errs = each(errs, ratio, item.Type, item.MaxLimitRequestRatio, requests, limits)
		}
		switch item.Type {
		case corev1.LimitTypeContainer:
			for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
				for i := range list {
					all(list[i].Resources.Requests, list[i].Resources.Limits)
				}
			}
		case corev1.LimitTypePod:
			opts := resourcehelper.PodResourcesOptions{ExcludeOverhead: true} // limits are for what users ask for
			all(resourcehelper.PodRequests(pod, opts), resourcehelper.PodLimits(pod, opts))
		}
	}
	return utilerrors.NewAggregate(errs)
}

func checkClaim(claim *corev1.PersistentVolumeClaim, lr *corev1.LimitRange) error {
	var errs []error
	for _, item := range lr.Spec.Limits {
		if item.Type == corev1.LimitTypePersistentVolumeClaim {
			errs = each(errs, minimum, item.Type, item.Min, claim.Spec.Resources.Requests, nil)
			errs = each(errs, maximumRequest, item.Type, item.Max, claim.Spec.Resources.Requests, nil)
		}
	}
	return utilerrors.NewAggregate(errs)
}

func minimum(kind corev1.LimitType, name corev1.ResourceName, bound resource.Quantity, requests, limits corev1.ResourceList) error {
	request, requested := requests[name]
	limit, limited := limits[name]
	switch {
	case !requested:
		return fmt.Errorf("minimum %s usage per %s is %s.  No request is specified", name, kind, bound.String())
	case request.Cmp(bound) < 0:
		return fmt.Errorf("minimum %s usage per %s is %s, but request is %s", name, kind, bound.String(), request.String())
	case limited && limit.Cmp(bound) < 0:
		return fmt.Errorf("minimum %s usage per %s is %s, but limit is %s", name, kind, bound.String(), limit.String())
	}
	return nil
}

func maximum(kind corev1.LimitType, name corev1.ResourceName, bound resource.Quantity, requests, limits corev1.ResourceList) error {
	request, requested := requests[name]
	limit, limited := limits[name]
	switch {
	case !limited:
		return fmt.Errorf("maximum %s usage per %s is %s.  No limit is specified", name, kind, bound.String())
	case limit.Cmp(bound) > 0:
		return fmt.Errorf("maximum %s usage per %s is %s, but limit is %s", name, kind, bound.String(), limit.String())
	case requested && request.Cmp(bound) > 0:
		return fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, kind, bound.String(), request.String())
	}
	return nil
}

func maximumRequest(kind corev1.LimitType, name corev1.ResourceName, bound resource.Quantity, requests, _ corev1.ResourceList) error {
	request, requested := requests[name]
	switch {
	case !requested:
		return fmt.Errorf("maximum %s usage per %s is %s.  No request is specified", name, kind, bound.String())
	case request.Cmp(bound) > 0:
		return fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, kind, bound.String(), request.String())
	}
	return nil
}

func ratio(kind corev1.LimitType, name corev1.ResourceName, bound resource.Quantity, requests, limits corev1.ResourceList) error {
	request, limit := requests[name], limits[name]
	switch {
	case request.IsZero():
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no request is specified or request is 0", name, kind, bound.String())
	case limit.IsZero():
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no limit is specified or limit is 0", name, kind, bound.String())
	}
	got := limit.AsApproximateFloat64() / request.AsApproximateFloat64()
	if got > bound.AsApproximateFloat64() {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but provided ratio is %f", name, kind, bound.String(), got)
	}
	return nil
}
