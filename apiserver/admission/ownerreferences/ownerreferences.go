// Package ownerreferences keeps users from having the garbage collector do what they may not do themselves: delete
// the object that they give an owner, or hold up the deletion of an owner.
package ownerreferences

import (
	"context"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/apiserver/admission"
	"clipper/apiserver/served"
)

// A Plugin is the admission plug-in OwnerReferencesPermissionEnforcement.
type Plugin struct {
	table func() *served.Table
	authz authorizer.Authorizer
}

// New returns the plug-in. Owners are of the kinds in table.
func New(table func() *served.Table, az authorizer.Authorizer) *Plugin { return &Plugin{table, az} }

// Validate refuses owners that the user may not give.
func (p *Plugin) Validate(ctx context.Context, a *admission.Attributes) error {
	if a.Operation != admission.Create && a.Operation != admission.Update || a.Object == nil || a.IsSub("", "pods", "status") {
		return nil
	}
	var had []metav1.OwnerReference
	if a.Old != nil {
		had = a.Old.GetOwnerReferences()
	}
	has := a.Object.GetOwnerReferences()
	if same(had, has) {
		return nil
	}
	if a.Operation != admission.Create {
		decision, reason, err := p.authz.Authorize(ctx, deletion(a))
		if decision != authorizer.DecisionAllow {
			return a.Forbiddenf("cannot set an ownerRef on a resource you can't delete: %v, %v", reason, err)
		}
	}
	return p.checkBlocking(ctx, a, blocking(had, has))
}

func same(had, has []metav1.OwnerReference) bool {
	return len(had) == 0 && len(has) == 0 || apiequality.Semantic.DeepEqual(had, has)
}

// blocking are the references in has that block their owner's deletion and have not done so before.
func blocking(had, has []metav1.OwnerReference) (out []metav1.OwnerReference) {
	blocked := map[string]bool{}
	for _, ref := range had {
		blocked[string(ref.UID)] = blocks(ref)
	}
	for _, ref := range has {
		if blocks(ref) && !blocked[string(ref.UID)] {
			out = append(out, ref)
		}
	}
	return out
}

func blocks(ref metav1.OwnerReference) bool {
	return ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion
}

// checkBlocking refuses references that block owners whose finalizers the user may not set.
func (p *Plugin) checkBlocking(ctx context.Context, a *admission.Attributes, refs []metav1.OwnerReference) error {
	if len(refs) == 0 {
		return nil
	}
	anything := authorizer.AttributesRecord{User: a.User, Verb: "update", APIGroup: "*", APIVersion: "*", Resource: "*", Subresource: "finalizers", Name: "*", ResourceRequest: true}
	if decision, _, _ := p.authz.Authorize(ctx, anything); decision == authorizer.DecisionAllow {
		return nil
	}
	for _, ref := range refs {
		records, err := p.finalizing(a, ref)
		if err != nil {
			return a.Forbiddenf("cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion %s Kind %s: %v", ref.APIVersion, ref.Kind, err)
		}
		for _, record := range records {
			decision, reason, err := p.authz.Authorize(ctx, record)
			if decision != authorizer.DecisionAllow {
				return a.Forbiddenf("cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: %v, %v", reason, err)
			}
		}
	}
	return nil
}

func deletion(a *admission.Attributes) authorizer.AttributesRecord {
	version := a.Resource.Version
	if a.Requested != nil {
		version = a.Requested.GVK.Version
	}
	return authorizer.AttributesRecord{User: a.User, Verb: "delete", Namespace: a.Namespace, APIGroup: a.Resource.Group, APIVersion: version,
		Resource: a.Resource.Name, Subresource: a.Subresource, Name: a.Name, ResourceRequest: true}
}

// finalizing is what the user must be allowed to: one update for each resource that has the owner's kind.
func (p *Plugin) finalizing(a *admission.Attributes, ref metav1.OwnerReference) (out []authorizer.AttributesRecord, err error) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, err
	}
	version := p.table().Find(gv.Group, gv.Version)
	for i := 0; version != nil && i < len(version.Kinds); i++ {
		k := version.Kinds[i]
		if k.GVK.Kind != ref.Kind {
			continue
		}
		record := authorizer.AttributesRecord{User: a.User, Verb: "update", APIGroup: gv.Group, APIVersion: gv.Version, Resource: k.Name, Subresource: "finalizers", Name: ref.Name, ResourceRequest: true}
		if k.Namespaced { // the owner is where the dependent is
			record.Namespace = a.Namespace
		}
		out = append(out, record)
	}
	if len(out) == 0 {
		return nil, &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: gv.Group, Kind: ref.Kind}, SearchedVersions: []string{gv.Version}}
	}
	return out, nil
}
