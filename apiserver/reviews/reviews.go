// Package reviews answers the kinds that are asked rather than stored: who am I, may I, who is the bearer
// of this token; and it issues tokens of service accounts. Its answers are the same decisions that the
// server makes for its own requests, by the same authenticator and authorizer.
package reviews

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/api"
	"clipper/apiserver/authn/satoken"
	"clipper/apiserver/pipeline"
)

// An Authorizer decides, and lists what it would decide.
type Authorizer interface {
	authorizer.Authorizer
	authorizer.RuleResolver
}

// A TokenAuthenticator says whom a token stands for, and for which of the wanted audiences it is.
type TokenAuthenticator interface {
	Token(ctx context.Context, token string, audiences []string) (user.Info, []string, error)
	// Audiences are the names of the API server.
	Audiences() []string
}

// Config is what the reviews ask.
type Config struct {
	Client     api.Client // for the objects that tokens are bound to
	Authorizer Authorizer
	Tokens     TokenAuthenticator
	Signer     *satoken.Signer
	Limits     TokenLimits
	Now        func() time.Time // nil: the clock
}

// Creaters returns what answers each review, to be handed to the pipeline.
func Creaters(cfg Config) map[schema.GroupResource]pipeline.Creater {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := &reviewer{cfg}
	az := func(resource string) schema.GroupResource {
		return schema.GroupResource{Group: authorizationv1.GroupName, Resource: resource}
	}
	an := func(resource string) schema.GroupResource {
		return schema.GroupResource{Group: authenticationv1.GroupName, Resource: resource}
	}
	out := map[schema.GroupResource]pipeline.Creater{
		az("subjectaccessreviews"):          r.subjectAccess,
		az("localsubjectaccessreviews"):     r.localSubjectAccess,
		az("selfsubjectaccessreviews"):      r.selfSubjectAccess,
		az("selfsubjectrulesreviews"):       r.selfSubjectRules,
		an("selfsubjectreviews"):            r.selfSubject,
		an("tokenreviews"):                  r.token,
		{Resource: "serviceaccounts/token"}: r.tokenRequest,
	}
	for gr, c := range out {
		out[gr] = kindless(c)
	}
	return out
}

// kindless takes kind and version off the answers, which are the decoded bodies: like stored objects they
// get them from whoever encodes them.
func kindless(c pipeline.Creater) pipeline.Creater {
	return func(ctx context.Context, req *pipeline.Request, body api.Object, o metav1.CreateOptions) (runtime.Object, error) {
		out, err := c(ctx, req, body, o)
		if err == nil {
			out.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		}
		return out, err
	}
}

type reviewer struct{ Config }

// invalid is the 422 of a review. Like upstream's it names no kind.
func invalid(group string, faults field.ErrorList) error {
	return apierrors.NewInvalid(schema.GroupKind{Group: group}, "", faults)
}

func (r *reviewer) subjectAccess(ctx context.Context, _ *pipeline.Request, body api.Object, _ metav1.CreateOptions) (runtime.Object, error) {
	review := body.(*authorizationv1.SubjectAccessReview)
	if faults := append(validateSpec(&review.Spec), noMetadata(review.ObjectMeta, "must be empty")...); len(faults) > 0 {
		return nil, invalid(authorizationv1.GroupName, faults)
	}
	review.Status = r.decide(ctx, subject(&review.Spec), review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
	return review, nil
}

func (r *reviewer) localSubjectAccess(ctx context.Context, req *pipeline.Request, body api.Object, _ metav1.CreateOptions) (runtime.Object, error) {
	review := body.(*authorizationv1.LocalSubjectAccessReview)
	spec, path := &review.Spec, field.NewPath("spec")
	faults := append(validateSpec(spec), noMetadataBut(review.ObjectMeta, review.Namespace, "must be empty except for namespace")...)
	if spec.ResourceAttributes != nil && spec.ResourceAttributes.Namespace != req.Namespace {
		faults = append(faults, field.Invalid(path.Child("resourceAttributes", "namespace"), spec.ResourceAttributes.Namespace, "must match metadata.namespace"))
	}
	if spec.NonResourceAttributes != nil {
		faults = append(faults, field.Invalid(path.Child("nonResourceAttributes"), (*internalPath)(spec.NonResourceAttributes), "disallowed on this kind of request"))
	}
	if len(faults) > 0 {
		return nil, invalid(authorizationv1.GroupName, faults)
	}
	review.Status = r.decide(ctx, subject(spec), spec.ResourceAttributes, nil)
	return review, nil
}

func (r *reviewer) selfSubjectAccess(ctx context.Context, req *pipeline.Request, body api.Object, _ metav1.CreateOptions) (runtime.Object, error) {
	review := body.(*authorizationv1.SelfSubjectAccessReview)
	faults := validateAttributes(review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
	faults = append(faults, validateSelectors(review.Spec.ResourceAttributes)...)
	if faults = append(faults, noMetadata(review.ObjectMeta, "must be empty")...); len(faults) > 0 {
		return nil, invalid(authorizationv1.GroupName, faults)
	}
	review.Status = r.decide(ctx, req.User, review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
	return review, nil
}

func subject(spec *authorizationv1.SubjectAccessReviewSpec) user.Info {
	u := &user.DefaultInfo{Name: spec.User, UID: spec.UID, Groups: spec.Groups}
	for k, v := range spec.Extra {
		if u.Extra == nil {
			u.Extra = map[string][]string{}
		}
		u.Extra[k] = v
	}
	return u
}

// decide asks the authorizer what it would say to a request.
func (r *reviewer) decide(ctx context.Context, u user.Info, res *authorizationv1.ResourceAttributes, url *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	attrs := authorizer.AttributesRecord{User: u}
	if res != nil {
		attrs.ResourceRequest = true
		attrs.Verb, attrs.Namespace, attrs.Name = res.Verb, res.Namespace, res.Name
		attrs.APIGroup, attrs.APIVersion, attrs.Resource, attrs.Subresource = res.Group, versionOrAll(res.Version), res.Resource, res.Subresource
		attrs.FieldSelectorRequirements, attrs.FieldSelectorParsingErr = fieldRequirements(res.FieldSelector)
		attrs.LabelSelectorRequirements, attrs.LabelSelectorParsingErr = labelRequirements(res.LabelSelector)
	} else {
		attrs.Verb, attrs.Path = url.Verb, url.Path
	}
	d, reason, err := r.Authorizer.Authorize(ctx, attrs)
	return authorizationv1.SubjectAccessReviewStatus{
		Allowed: d == authorizer.DecisionAllow, Denied: d == authorizer.DecisionDeny, Reason: reason,
		EvaluationError: evaluationError(err, &attrs)}
}

// evaluationError tells what was wrong with the question, beside what was wrong with the answer.
func evaluationError(err error, a *authorizer.AttributesRecord) string {
	var all []string
	if err != nil {
		all = append(all, err.Error())
	}
	for _, s := range []struct {
		name string
		err  error
		kept int
	}{
		{"fieldSelector", a.FieldSelectorParsingErr, len(a.FieldSelectorRequirements)},
		{"labelSelector", a.LabelSelectorParsingErr, len(a.LabelSelectorRequirements)},
	} {
		switch {
		case s.err == nil:
		case s.kept > 0:
			all = append(all, "spec.resourceAttributes."+s.name+" partially ignored due to parse error")
		default:
			all = append(all, "spec.resourceAttributes."+s.name+" ignored due to parse error")
		}
	}
	return strings.Join(all, "; ")
}

func versionOrAll(v string) string {
	if v == "" {
		return "*"
	}
	return v
}

func (r *reviewer) selfSubjectRules(ctx context.Context, req *pipeline.Request, body api.Object, _ metav1.CreateOptions) (runtime.Object, error) {
	review := body.(*authorizationv1.SelfSubjectRulesReview)
	if review.Spec.Namespace == "" {
		return nil, apierrors.NewBadRequest("no namespace on request")
	}
	resources, urls, incomplete, err := r.Authorizer.RulesFor(ctx, req.User, review.Spec.Namespace)
	review = &authorizationv1.SelfSubjectRulesReview{} // the answer does not repeat the question
	review.Status = authorizationv1.SubjectRulesReviewStatus{Incomplete: incomplete,
		ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}}
	for _, rule := range resources {
		review.Status.ResourceRules = append(review.Status.ResourceRules, authorizationv1.ResourceRule{
			Verbs: rule.GetVerbs(), APIGroups: rule.GetAPIGroups(), Resources: rule.GetResources(), ResourceNames: rule.GetResourceNames()})
	}
	for _, rule := range urls {
		review.Status.NonResourceRules = append(review.Status.NonResourceRules, authorizationv1.NonResourceRule{
			Verbs: rule.GetVerbs(), NonResourceURLs: rule.GetNonResourceURLs()})
	}
	if err != nil {
		review.Status.EvaluationError = err.Error()
	}
	return review, nil
}

func (r *reviewer) selfSubject(_ context.Context, req *pipeline.Request, body api.Object, _ metav1.CreateOptions) (runtime.Object, error) {
	review := body.(*authenticationv1.SelfSubjectReview)
	review.ObjectMeta = metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(r.Now())}
	review.Status.UserInfo = userInfo(req.User)
	return review, nil
}

func userInfo(u user.Info) authenticationv1.UserInfo {
	out := authenticationv1.UserInfo{Username: u.GetName(), UID: u.GetUID(), Groups: slices.Clone(u.GetGroups())}
	for k, v := range u.GetExtra() {
		if out.Extra == nil {
			out.Extra = map[string]authenticationv1.ExtraValue{}
		}
		out.Extra[k] = slices.Clone(v)
	}
	return out
}

// errBadToken is what upstream's servers say first of every token that is not their own: one of theirs is for loops
// within the process, and is tried before all others.
var errBadToken = errors.New("invalid bearer token")

func (r *reviewer) token(ctx context.Context, req *pipeline.Request, body api.Object, _ metav1.CreateOptions) (runtime.Object, error) {
	review := body.(*authenticationv1.TokenReview)
	if req.Namespace != "" {
		return nil, apierrors.NewBadRequest("namespace is not allowed on this type: " + req.Namespace)
	}
	if review.Spec.Token == "" {
		return nil, apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	audiences := review.Spec.Audiences
	if len(audiences) == 0 {
		audiences = r.Tokens.Audiences()
	}
	review.Status.Authenticated = false // the rest of what was sent stays, as upstream, where nothing takes its place
	u, auds, err := r.Tokens.Token(ctx, review.Spec.Token, audiences)
	if err != nil {
		review.Status.Error = utilerrors.NewAggregate([]error{errBadToken, err}).Error()
		return review, nil
	}
	review.Status.Authenticated, review.Status.User, review.Status.Audiences = true, userInfo(u), auds
	return review, nil
}
