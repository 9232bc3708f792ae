package cli

import (
	"strconv"

	"github.com/spf13/cobra"

	"clipper/daemon"
)

// identityFlags adds what says who may use the API, under kube-apiserver's names.
func identityFlags(cmd *cobra.Command, o *daemon.IdentityOptions) {
	authenticationFlags(cmd, o)
	proxyFlags(cmd, o)
	oidcFlags(cmd, o)
	serviceAccountFlags(cmd, o)
	authorizationFlags(cmd, o)
}

func authenticationFlags(cmd *cobra.Command, o *daemon.IdentityOptions) {
	f := cmd.Flags()
	f.StringVar(&o.ClientCAFile, "client-ca-file", "", "authorities of client certificates, beside the cluster's own")
	f.StringVar(&o.TokenFile, "token-auth-file", "", "file of bearer tokens: token,user,uid,\"group1,group2\"")
	f.StringVar(&o.AuthenticationConfig, "authentication-config", "", "AuthenticationConfiguration: OpenID providers, and who may be anonymous")
	f.StringSliceVar(&o.APIAudiences, "api-audiences", nil, "names of the API that tokens are for; default: the issuers of service-account tokens")
	f.StringVar(&o.TokenWebhook.File, "authentication-token-webhook-config-file", "", "kubeconfig of a server that is asked about bearer tokens")
	f.StringVar(&o.TokenWebhook.Version, "authentication-token-webhook-version", o.TokenWebhook.Version, "version of the TokenReview that it is asked with")
	f.DurationVar(&o.TokenWebhook.CacheTTL, "authentication-token-webhook-cache-ttl", o.TokenWebhook.CacheTTL, "how long its answers are remembered")
	f.BoolFunc("enable-bootstrap-token-auth", "let machines join with the tokens of secrets of type bootstrap.kubernetes.io/token (default true)", negated(&o.NoBootstrapTokens))
	always(cmd, "service-account-lookup", "tokens of service accounts count while their account and secret are there")
	f.BoolFunc("anonymous-auth", "let requests without credentials in as system:anonymous (default true)", boolFlag(&o.Anonymous))
}

func proxyFlags(cmd *cobra.Command, o *daemon.IdentityOptions) {
	f := cmd.Flags()
	f.StringVar(&o.ProxyCAFile, "requestheader-client-ca-file", "", "authorities of authenticating proxies, beside the cluster's own")
	f.StringSliceVar(&o.Proxy.AllowedNames, "requestheader-allowed-names", nil, "common names of authenticating proxies, beside the cluster's own")
	f.StringSliceVar(&o.Proxy.UserHeaders, "requestheader-username-headers", o.Proxy.UserHeaders, "headers in which a proxy names the user")
	f.StringSliceVar(&o.Proxy.UIDHeaders, "requestheader-uid-headers", o.Proxy.UIDHeaders, "headers in which a proxy gives the user's UID")
	f.StringSliceVar(&o.Proxy.GroupHeaders, "requestheader-group-headers", o.Proxy.GroupHeaders, "headers in which a proxy names the user's groups")
	f.StringSliceVar(&o.Proxy.ExtraPrefixes, "requestheader-extra-headers-prefix", o.Proxy.ExtraPrefixes, "beginnings of headers in which a proxy says more")
}

func oidcFlags(cmd *cobra.Command, o *daemon.IdentityOptions) {
	f := cmd.Flags()
	f.StringVar(&o.OIDC.IssuerURL, "oidc-issuer-url", "", "an OpenID provider whose tokens are accepted")
	f.StringVar(&o.OIDC.ClientID, "oidc-client-id", "", "the audience that its tokens must name")
	f.StringVar(&o.OIDC.CAFile, "oidc-ca-file", "", "authorities of its certificate; default: the host's")
	f.StringVar(&o.OIDC.UsernameClaim, "oidc-username-claim", "", "claim that is the user name; default: sub")
	f.StringVar(&o.OIDC.UsernamePrefix, "oidc-username-prefix", "", "put before user names; - for nothing; default: the issuer, unless the claim is email")
	f.StringVar(&o.OIDC.GroupsClaim, "oidc-groups-claim", "", "claim that lists the groups")
	f.StringVar(&o.OIDC.GroupsPrefix, "oidc-groups-prefix", "", "put before groups")
	f.StringSliceVar(&o.OIDC.SigningAlgs, "oidc-signing-algs", nil, "algorithms that its tokens may be signed with; default: RS256")
	f.StringToStringVar(&o.OIDC.RequiredClaims, "oidc-required-claim", nil, "claim=value that its tokens must have")
}

func serviceAccountFlags(cmd *cobra.Command, o *daemon.IdentityOptions) {
	f := cmd.Flags()
	f.StringArrayVar(&o.Issuers, "service-account-issuer", nil, "issuer of service-account tokens: the first is that of new ones, all are accepted")
	f.StringVar(&o.SigningKeyFile, "service-account-signing-key-file", "", "key that signs service-account tokens; default: the cluster's own")
	f.StringVar(&o.SigningEndpoint, "service-account-signing-endpoint", "", "Unix socket of a process that signs service-account tokens, by upstream's protocol ExternalJWTSigner v1; a name that begins with @ is an abstract one")
	f.StringArrayVar(&o.KeyFiles, "service-account-key-file", nil, "keys that verify service-account tokens, beside the one that signs; default: the cluster's own")
	f.StringVar(&o.JWKSURI, "service-account-jwks-uri", "", "where the issuer's discovery document says that the keys are; default: at this server")
	f.DurationVar(&o.TokenLimits.Longest, "service-account-max-token-expiration", 0, "longest life of a token that is asked for; 0 for no limit")
	f.BoolFunc("service-account-extend-token-expiration", "let tokens of pods last a year, for clients that do not read them again (default true)",
		func(s string) error {
			var extend *bool
			err := boolFlag(&extend)(s)
			o.TokenLimits.NoExtend = err == nil && !*extend
			return err
		})
}

func authorizationFlags(cmd *cobra.Command, o *daemon.IdentityOptions) {
	f, a := cmd.Flags(), &o.Authorization
	f.StringSliceVar(&a.Modes, "authorization-mode", nil, "authorizers in the order in which they are asked: Node, RBAC, ABAC, Webhook, AlwaysAllow, AlwaysDeny; default: Node,RBAC")
	f.StringVar(&a.Policy, "authorization-policy-file", "", "the policies of mode ABAC, one JSON object per line")
	f.StringVar(&a.File, "authorization-config", "", "AuthorizationConfiguration; excludes --authorization-mode and --authorization-webhook-*")
	f.StringVar(&a.Webhook.File, "authorization-webhook-config-file", "", "kubeconfig of a server that decides about requests")
	f.StringVar(&a.Webhook.Version, "authorization-webhook-version", a.Webhook.Version, "version of the SubjectAccessReview that it is asked with")
	f.DurationVar(&a.Webhook.AuthorizedTTL, "authorization-webhook-cache-authorized-ttl", a.Webhook.AuthorizedTTL, "how long its yes is remembered")
	f.DurationVar(&a.Webhook.UnauthorizedTTL, "authorization-webhook-cache-unauthorized-ttl", a.Webhook.UnauthorizedTTL, "how long its no is remembered")
}

// boolFlag sets a truth value that may also be left open.
func boolFlag(to **bool) func(string) error {
	return func(s string) error {
		b, err := strconv.ParseBool(s)
		*to = &b
		return err
	}
}
