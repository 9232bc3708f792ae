package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/api"
)

const (
	nodeUserPrefix = "system:node:"
	nodesGroup     = "system:nodes"
)

// A Node authorizer gives each node what its own pods need and no more: the secrets, configmaps, claims
// and volumes they refer to, tokens of their service accounts, its own Node, lease and pods. It keeps no
// graph; it walks from the node's pods, which the view has indexed, to what is asked for.
type Node struct {
	pods        api.TypedView[*corev1.Pod]
	volumes     api.TypedView[*corev1.PersistentVolume]
	attachments api.TypedView[*storagev1.VolumeAttachment]
	slices      api.TypedView[*resourcev1.ResourceSlice]
}

// NewNode returns a node authorizer over what c sees.
func NewNode(c api.Client) *Node {
	return &Node{
		pods:        api.Pods.View(c),
		volumes:     api.PersistentVolumes.View(c),
		attachments: api.VolumeAttachments.View(c),
		slices:      api.ResourceSlices.View(c),
	}
}

// nodeIdentity returns the name of the node that u is the kubelet of.
func nodeIdentity(u user.Info) (name string, isNode bool) {
	if u == nil {
		return "", false
	}
	name, ok := strings.CutPrefix(u.GetName(), nodeUserPrefix)
	if !ok || !slices.Contains(u.GetGroups(), nodesGroup) {
		return "", false
	}
	return name, true
}

// NodeName returns the name of the node that u is the kubelet of; isNode is false for everybody else.
func NodeName(u user.Info) (name string, isNode bool) { return nodeIdentity(u) }

// nodeRules is what every node may do alike.
var nodeRules = []rbacv1.PolicyRule{
	{Verbs: []string{"create"}, APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}},
	{Verbs: []string{"create"}, APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"subjectaccessreviews", "localsubjectaccessreviews"}},
	{Verbs: []string{"get", "list", "watch"}, APIGroups: []string{""}, Resources: []string{"services"}},
	{Verbs: []string{"create", "update", "patch"}, APIGroups: []string{"", "events.k8s.io"}, Resources: []string{"events"}},
	{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"endpoints"}},
	{Verbs: []string{"create", "get", "list", "watch"}, APIGroups: []string{"certificates.k8s.io"}, Resources: []string{"certificatesigningrequests"}},
	{Verbs: []string{"get", "list", "watch"}, APIGroups: []string{"storage.k8s.io"}, Resources: []string{"csidrivers"}},
	{Verbs: []string{"get", "list", "watch"}, APIGroups: []string{"node.k8s.io"}, Resources: []string{"runtimeclasses"}},
}

func no(format string, args ...any) (authorizer.Decision, string, error) {
	return authorizer.DecisionNoOpinion, fmt.Sprintf(format, args...), nil
}

func yes() (authorizer.Decision, string, error) { return authorizer.DecisionAllow, "", nil }

// Authorize decides on requests of nodes and has no opinion on others.
func (n *Node) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	node, isNode := nodeIdentity(a.GetUser())
	if !isNode {
		return authorizer.DecisionNoOpinion, "", nil
	}
	if node == "" {
		return no("unknown node for user %q", a.GetUser().GetName())
	}
	if a.IsResourceRequest() {
		switch a.GetAPIGroup() {
		case "":
			if d, reason, ok := n.core(node, a); ok {
				return d, reason, nil
			}
		case "coordination.k8s.io":
			if a.GetResource() == "leases" {
				return nodeLease(node, a)
			}
		case "storage.k8s.io":
			switch a.GetResource() {
			case "volumeattachments":
				return n.get(node, a, n.ownsAttachment)
			case "csinodes":
				return csiNode(node, a)
			}
		case "resource.k8s.io":
			switch a.GetResource() {
			case "resourceclaims":
				return n.get(node, a, n.podsClaim)
			case "resourceslices":
				return n.resourceSlice(node, a)
			}
		}
	}
	for i := range nodeRules {
		if ruleAllows(a, &nodeRules[i]) {
			return yes()
		}
	}
	return no("")
}

// RulesFor tells nodes that what they may do cannot be listed.
func (n *Node) RulesFor(_ context.Context, u user.Info, _ string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	if _, isNode := nodeIdentity(u); isNode {
		return nil, nil, true, errors.New("node authorizer does not support user rule resolution")
	}
	return nil, nil, false, nil
}

// core decides on the resources of the core group that are divided between nodes; ok is false for others.
func (n *Node) core(node string, a authorizer.Attributes) (d authorizer.Decision, reason string, ok bool) {
	switch a.GetResource() {
	case "secrets":
		d, reason, _ = n.readNamespaced(node, a, n.usesSecret)
	case "configmaps":
		d, reason, _ = n.readNamespaced(node, a, n.usesConfigMap)
	case "persistentvolumeclaims":
		if a.GetSubresource() == "status" {
			d, reason, _ = n.claimStatus(node, a)
		} else {
			d, reason, _ = n.get(node, a, n.usesClaim)
		}
	case "persistentvolumes":
		d, reason, _ = n.get(node, a, n.usesVolume)
	case "serviceaccounts":
		d, reason, _ = n.serviceAccount(node, a)
	case "nodes":
		d, reason, _ = ownNode(node, a)
	case "pods":
		d, reason, _ = n.pod(node, a)
	default:
		return 0, "", false
	}
	return d, reason, true
}

// A relation says whether a node has to do with an object.
type relation func(node, namespace, name string) bool

func related(node string, a authorizer.Attributes, has relation) (authorizer.Decision, string, error) {
	if a.GetName() == "" {
		return no("No Object name found")
	}
	if !has(node, a.GetNamespace(), a.GetName()) {
		return no("no relationship found between node '%s' and this object", node)
	}
	return yes()
}

func (n *Node) get(node string, a authorizer.Attributes, has relation) (authorizer.Decision, string, error) {
	if a.GetVerb() != "get" {
		return no("can only get individual resources of this type")
	}
	if a.GetSubresource() != "" {
		return no("cannot get subresource")
	}
	return related(node, a, has)
}

func (n *Node) readNamespaced(node string, a authorizer.Attributes, has relation) (authorizer.Decision, string, error) {
	switch {
	case a.GetVerb() != "get" && a.GetVerb() != "list" && a.GetVerb() != "watch":
		return no("can only read resources of this type")
	case a.GetSubresource() != "":
		return no("cannot read subresource")
	case a.GetNamespace() == "":
		return no("can only read namespaced object of this type")
	}
	return related(node, a, has)
}

func (n *Node) claimStatus(node string, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if v := a.GetVerb(); v != "update" && v != "patch" {
		return no("can only get/update/patch this type")
	}
	return related(node, a, n.usesClaim)
}

func (n *Node) serviceAccount(node string, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetVerb() == "get" && a.GetSubresource() == "" {
		return n.readNamespaced(node, a, n.usesServiceAccount) // for credential providers of images
	}
	if a.GetVerb() != "create" || a.GetName() == "" {
		return no("can only create tokens for individual service accounts")
	}
	if a.GetSubresource() != "token" {
		return no("can only create token subresource of serviceaccount")
	}
	return related(node, a, n.usesServiceAccount)
}

func nodeLease(node string, a authorizer.Attributes) (authorizer.Decision, string, error) {
	switch a.GetVerb() {
	case "get", "create", "update", "patch", "delete":
	default:
		return no("can only get, create, update, patch, or delete a node lease")
	}
	if a.GetNamespace() != corev1.NamespaceNodeLease {
		return no("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	}
	// The name is not known before a create is decoded; admission checks it there.
	if a.GetVerb() != "create" && a.GetName() != node {
		return no("can only access node lease with the same name as the requesting node")
	}
	return yes()
}

func csiNode(node string, a authorizer.Attributes) (authorizer.Decision, string, error) {
	switch a.GetVerb() {
	case "get", "create", "update", "patch", "delete":
	default:
		return no("can only get, create, update, patch, or delete a CSINode")
	}
	if a.GetSubresource() != "" {
		return no("cannot authorize CSINode subresources")
	}
	if a.GetVerb() != "create" && a.GetName() != node {
		return no("can only access CSINode with the same name as the requesting node")
	}
	return yes()
}

func (n *Node) resourceSlice(node string, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetSubresource() != "" {
		return no("cannot authorize ResourceSlice subresources")
	}
	switch a.GetVerb() {
	case "create": // admission looks at what it is of
		return yes()
	case "get", "update", "patch", "delete":
		return related(node, a, n.ownsSlice)
	case "watch", "list", "deletecollection":
		if selects(a, resourcev1.ResourceSliceSelectorNodeName, node) {
			return yes()
		}
		return no("can only list/watch/deletecollection resourceslices with nodeName field selector")
	}
	return no("only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection")
}

func ownNode(node string, a authorizer.Attributes) (authorizer.Decision, string, error) {
	verb := a.GetVerb()
	switch a.GetSubresource() {
	case "":
		switch verb {
		case "create", "update", "patch": // admission limits them to the node's own object
			return yes()
		case "get", "list", "watch":
			switch a.GetName() {
			case node:
				return yes()
			case "":
				return no("node '%s' cannot read all nodes, only its own Node object", node)
			}
			return no("node '%s' cannot read '%s', only its own Node object", node, a.GetName())
		}
	case "status":
		if verb == "update" || verb == "patch" {
			return yes()
		}
	}
	return no("")
}

func (n *Node) pod(node string, a authorizer.Attributes) (authorizer.Decision, string, error) {
	verb := a.GetVerb()
	switch a.GetSubresource() {
	case "":
		switch verb {
		case "get":
			return related(node, a, n.runsPod)
		case "list", "watch":
			if selects(a, "spec.nodeName", node) {
				return yes()
			}
			if a.GetName() != "" {
				return related(node, a, n.runsPod)
			}
			return no("can only list/watch pods with spec.nodeName field selector")
		case "create", "delete": // mirror pods; admission limits them
			return yes()
		}
	case "status":
		if verb == "update" || verb == "patch" {
			return yes()
		}
	case "eviction":
		if verb == "create" {
			return yes()
		}
	}
	return no("")
}

// selects reports whether the request's field selector demands field=value.
func selects(a authorizer.Attributes, field, value string) bool {
	reqs, err := a.GetFieldSelector()
	if err != nil {
		return false
	}
	for _, r := range reqs {
		if r.Field == field && r.Value == value && (r.Operator == selection.Equals || r.Operator == selection.DoubleEquals) {
			return true
		}
	}
	return false
}
