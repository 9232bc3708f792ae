package claimaccess

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"

	"clipper/apiserver/admission"
)

// mayBind asks for the right to bind claims, all of them.
func (p *Plugin) mayBind(ctx context.Context, a *admission.Attributes) field.ErrorList {
	attrs := attributes(a, verb(a), resourcev1.SubresourceBinding)
	if err := p.ask(ctx, attrs); err != nil {
		return field.ErrorList{field.Forbidden(field.NewPath("status", "allocation"),
			fmt.Sprintf(`changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="%s" permission: %s`, attrs.Verb, err))}
	}
	return nil
}

// mayReport asks for the right to speak for each driver of whose devices the state changes: on the node that the claim
// is allocated on, if that is where the user is, or on any.
func (p *Plugin) mayReport(ctx context.Context, a *admission.Attributes, s, old *resourcev1.ResourceClaimStatus) field.ErrorList {
	verbs := []string{resourcev1.VerbPrefixArbitraryNode + verb(a)}
	if isOn(a.User, nodeOf(s.Allocation)) {
		verbs = slices.Insert(verbs, 0, resourcev1.VerbPrefixAssociatedNode+verb(a))
	}
	var faults field.ErrorList
	for _, driver := range changed(s.Devices, old.Devices) {
		if err := p.maySpeakFor(ctx, a, verbs, driver); err != nil {
			faults = append(faults, field.Forbidden(field.NewPath("status", "devices"),
				fmt.Sprintf(`changing status.devices requires resource="resourceclaims/driver", verb="%s" permission: %s`, verbs, err)))
		}
	}
	return faults
}

// maySpeakFor is content with any of the verbs, and else says what was said of the first.
func (p *Plugin) maySpeakFor(ctx context.Context, a *admission.Attributes, verbs []string, driver string) (first error) {
	for _, v := range verbs {
		attrs := attributes(a, v, resourcev1.SubresourceDriver)
		attrs.Namespace, attrs.Name = a.Namespace, driver
		err := p.ask(ctx, attrs)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// attributes are of a subresource that exists for the sake of being asked for.
func attributes(a *admission.Attributes, verb, subresource string) authorizer.AttributesRecord {
	return authorizer.AttributesRecord{User: a.User, Verb: verb, ResourceRequest: true,
		APIGroup: a.Resource.Group, APIVersion: a.Resource.Version, Resource: a.Resource.Name, Subresource: subresource}
}

func (p *Plugin) ask(ctx context.Context, attrs authorizer.AttributesRecord) error {
	decision, reason, err := p.authz.Authorize(ctx, attrs)
	switch {
	case decision == authorizer.DecisionAllow: // even if not everything could be evaluated
		return nil
	case err != nil && reason != "":
		reason = fmt.Sprintf("%v: %s", err, reason)
	case err != nil:
		reason = err.Error()
	}
	return responsewriters.ForbiddenStatusError(attrs, reason)
}

// changed lists the drivers of devices whose state is new, another or gone.
func changed(now, old []resourcev1.AllocatedDeviceStatus) []string {
	type device struct{ driver, pool, name, share string }
	key := func(d *resourcev1.AllocatedDeviceStatus) device {
		k := device{driver: d.Driver, pool: d.Pool, name: d.Device}
		if d.ShareID != nil {
			k.share = *d.ShareID
		}
		return k
	}
	before, drivers := map[device]*resourcev1.AllocatedDeviceStatus{}, map[string]bool{}
	for i := range old {
		before[key(&old[i])] = &old[i]
	}
	for i := range now {
		k := key(&now[i])
		if was := before[k]; was == nil || !equality.Semantic.DeepEqual(*was, now[i]) {
			drivers[k.driver] = true
		}
		delete(before, k)
	}
	for k := range before {
		drivers[k.driver] = true
	}
	return slices.Sorted(maps.Keys(drivers))
}

// nodeOf is the one node on which an allocation can be used, "" if there are others.
func nodeOf(allocation *resourcev1.AllocationResult) string {
	if allocation.NodeSelector == nil || len(allocation.NodeSelector.NodeSelectorTerms) != 1 {
		return ""
	}
	term := allocation.NodeSelector.NodeSelectorTerms[0]
	if len(term.MatchExpressions) != 0 || len(term.MatchFields) != 1 {
		return ""
	}
	f := term.MatchFields[0]
	if f.Key != "metadata.name" || f.Operator != corev1.NodeSelectorOpIn || len(f.Values) != 1 {
		return ""
	}
	return f.Values[0]
}

// isOn says whether u is the service account of a pod on the node.
func isOn(u user.Info, node string) bool {
	if _, _, err := serviceaccount.SplitUsername(u.GetName()); err != nil || node == "" {
		return false
	}
	nodes := u.GetExtra()[serviceaccount.NodeNameKey]
	return len(nodes) == 1 && nodes[0] == node && len(validation.NameIsDNSSubdomain(node, false)) == 0
}
