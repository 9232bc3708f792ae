// Package clusterrole keeps the rules of aggregated cluster roles: the rules of all roles that their
// selectors choose.
package clusterrole

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"clipper/api"
	"clipper/controllers/queue"
)

// A Controller is the cluster-role aggregation controller.
type Controller struct {
	client api.Client
	queue  *queue.Queue[string]
}

// New returns the controller; Run starts it. Its client's user must be allowed to escalate cluster roles.
func New(c api.Client) *Controller {
	k := &Controller{client: c}
	k.queue = queue.New("ClusterRoleAggregator", 1, k.sync)
	return k
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	roles := api.ClusterRoles.View(k.client)
	return k.queue.Run(ctx, queue.Source{View: roles.View, Handle: func(e api.Event) {
		for _, role := range roles.List("") { // any role may be part of any aggregated one
			if role.AggregationRule != nil {
				k.queue.Add(role.Name)
			}
		}
	}})
}

func (k *Controller) sync(ctx context.Context, name string) error {
	view := api.ClusterRoles.View(k.client)
	role, ok := view.Get("", name)
	if !ok || role.AggregationRule == nil {
		return nil
	}
	rules, err := aggregate(role, view.List(""))
	if err != nil {
		return fmt.Errorf("clusterrole %s: %w", name, err)
	}
	if equality.Semantic.DeepEqual(rules, role.Rules) {
		return nil
	}
	next := role.DeepCopy()
	next.Rules = rules
	if _, err := api.ClusterRoles.Update(ctx, k.client, next); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("clusterrole %s: write aggregated rules: %w", name, err)
	}
	return nil
}

// aggregate returns the rules that role collects from all, which are in order of name: each once.
func aggregate(role *rbacv1.ClusterRole, all []*rbacv1.ClusterRole) (rules []rbacv1.PolicyRule, err error) {
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, fmt.Errorf("aggregation selector %d: %w", i, err)
		}
		for _, part := range all {
			if part.Name != role.Name && selector.Matches(labels.Set(part.Labels)) {
				rules = appendNew(rules, part.Rules)
			}
		}
	}
	return rules, nil
}

func appendNew(rules, more []rbacv1.PolicyRule) []rbacv1.PolicyRule {
next:
	for i := range more {
		for j := range rules {
			if equality.Semantic.DeepEqual(rules[j], more[i]) {
				continue next
			}
		}
		rules = append(rules, more[i])
	}
	return rules
}
