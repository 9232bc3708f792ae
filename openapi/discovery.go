package openapi

import (
	"cmp"
	"slices"
	"strings"
)

// Not all that is served is about kinds: there are the documents that clients discover the rest by, and what the
// server says of itself. In version 3 each of these paths is a document of its own.

// aside are those that are always there, by the document of version 3 that they are in.
func aside() map[string]operation {
	out := map[string]operation{
		"api":  {id: "getCoreAPIVersions", tag: "core", about: "get available API versions", response: metaModel + "APIVersions", media: bodyTypes},
		"apis": {id: "getAPIVersions", tag: "apis", about: "get available API versions", response: metaModel + "APIGroupList", media: bodyTypes},
		"version": {id: "getCodeVersion", tag: "version", about: "get the version information for this server",
			response: "io.k8s.apimachinery.pkg.version.Info", media: []string{"application/json"}},
		"openid/v1/jwks": {id: "getServiceAccountIssuerOpenIDKeyset", tag: "openid", produce: []string{"application/jwk-set+json"},
			about: "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)"},
		".well-known/openid-configuration": {id: "getServiceAccountIssuerOpenIDConfiguration", tag: "WellKnown", produce: []string{"application/json"},
			about: "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'"},
	}
	for path, o := range out {
		o.path, o.method = "/"+path+"/", "get"
		out[path] = o
	}
	return out
}

// groupOperation is the one that tells of a group: "apis/apps".
func groupOperation(path string) operation {
	group := strings.TrimPrefix(path, "apis/")
	name := strings.TrimSuffix(group, ".k8s.io")
	return operation{
		path: "/" + path + "/", method: "get", id: "get" + camel(name) + "APIGroup", tag: strings.TrimSuffix(tagOf(group, ""), "_"),
		about: "get information of a group", response: metaModel + "APIGroup", media: bodyTypes,
	}
}

// resourcesOperation is the one that lists the resources of a group version.
func resourcesOperation(group, version string) operation {
	return operation{
		path: basePath(group, version) + "/", method: "get", id: "get" + apiName(group, version) + "APIResources", tag: tagOf(group, version),
		about: "get available resources", response: metaModel + "APIResourceList", media: bodyTypes,
	}
}

// groups are the paths of the groups that have built-in kinds. Those of custom ones alone have no document.
func (e *edition) groups() []string {
	seen := map[string]bool{}
	for gv, resources := range e.groupVersions {
		if group, _ := parseGroupVersion(gv); group != "" && resources[0].Custom == nil {
			seen["apis/"+group] = true
		}
	}
	out := make([]string, 0, len(seen))
	for path := range seen {
		out = append(out, path)
	}
	slices.SortFunc(out, cmp.Compare)
	return out
}

// lone returns the operation of a document of version 3 that has but one.
func (e *edition) lone(path string) (operation, bool) {
	if o, ok := aside()[path]; ok {
		return o, true
	}
	if slices.Contains(e.groups(), path) {
		return groupOperation(path), true
	}
	return operation{}, false
}
