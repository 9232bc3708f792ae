package credential

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kubelet/config/v1"
	providerv1 "k8s.io/kubelet/pkg/apis/credentialprovider/v1"
	"sigs.k8s.io/yaml"
)

const (
	configGroup   = "kubelet.config.k8s.io/"
	providerGroup = providerv1.GroupName + "/"
)

// versions are those of both groups. The older ones have the same form as v1, less tokenAttributes.
var versions = []string{"v1", "v1alpha1", "v1beta1"}

// readConfig reads the CredentialProviderConfig at path: a file, or a folder whose .json, .yaml and .yml files
// make up one configuration in the order of their names.
func readConfig(path string) (*configv1.CredentialProviderConfig, error) {
	files, err := configFiles(path)
	if err != nil {
		return nil, err
	}
	merged := &configv1.CredentialProviderConfig{}
	seen := map[string]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("unable to read file %q: %w", file, err)
		}
		c, err := parseConfig(data)
		if err != nil {
			return nil, fmt.Errorf("error decoding config %q: %w", file, err)
		}
		for _, p := range c.Providers {
			if seen[p.Name] {
				return nil, fmt.Errorf("duplicate provider name %q found in configuration file(s)", p.Name)
			}
			seen[p.Name] = true
			merged.Providers = append(merged.Providers, p)
		}
	}
	if faults := validate(merged); len(faults) > 0 {
		return nil, fmt.Errorf("failed to validate credential provider config: %w", faults.ToAggregate())
	}
	return merged, nil
}

func configFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("unable to access path %q: %w", path, err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path) // in the order of names
	if err != nil {
		return nil, fmt.Errorf("unable to read directory %q: %w", path, err)
	}
	var files []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".json" || ext == ".yaml" || ext == ".yml") {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no configuration files found in directory %q", path)
	}
	return files, nil
}

func parseConfig(data []byte) (*configv1.CredentialProviderConfig, error) {
	c := &configv1.CredentialProviderConfig{}
	if err := yaml.UnmarshalStrict(data, c); err != nil {
		return nil, err
	}
	if c.Kind != "CredentialProviderConfig" {
		return nil, fmt.Errorf("failed to decode %q (wrong Kind)", c.Kind)
	}
	if version, ok := strings.CutPrefix(c.APIVersion, configGroup); !ok || !slices.Contains(versions, version) {
		return nil, fmt.Errorf("failed to decode CredentialProviderConfig, unexpected apiVersion: %s", c.APIVersion)
	}
	return c, nil
}

func validate(c *configv1.CredentialProviderConfig) field.ErrorList {
	path := field.NewPath("providers")
	if len(c.Providers) == 0 {
		return field.ErrorList{field.Required(path, "at least 1 item in plugins is required")}
	}
	var faults field.ErrorList
	for i := range c.Providers {
		p := &c.Providers[i]
		faults = append(faults, validateName(p.Name, path.Child("name"))...)
		faults = append(faults, validateVersion(p.APIVersion, path.Child("apiVersion"))...)
		if len(p.MatchImages) == 0 {
			faults = append(faults, field.Required(path.Child("matchImages"), "at least 1 item in matchImages is required"))
		}
		switch d := p.DefaultCacheDuration; {
		case d == nil:
			faults = append(faults, field.Required(path.Child("defaultCacheDuration"), ""))
		case d.Duration < 0:
			faults = append(faults, field.Invalid(path.Child("defaultCacheDuration"), d, "must be greater than or equal to 0"))
		}
		if p.TokenAttributes != nil {
			faults = append(faults, validateToken(p, path.Child("tokenAttributes"))...)
		}
	}
	return faults
}

func validateName(name string, path *field.Path) (faults field.ErrorList) {
	if strings.Contains(name, "/") {
		faults = append(faults, field.Invalid(path, name, "provider name cannot contain '/'"))
	}
	if strings.Contains(name, " ") {
		faults = append(faults, field.Invalid(path, name, "provider name cannot contain spaces"))
	}
	if name == "." || name == ".." {
		faults = append(faults, field.Invalid(path, name, fmt.Sprintf("provider name cannot be '%s'", name)))
	}
	return faults
}

func validateVersion(version string, path *field.Path) field.ErrorList {
	var valid []string
	for _, v := range versions {
		valid = append(valid, providerGroup+v)
	}
	switch {
	case version == "":
		return field.ErrorList{field.Required(path, "")}
	case !slices.Contains(valid, version):
		return field.ErrorList{field.NotSupported(path, version, valid)}
	}
	return nil
}

func validateToken(p *configv1.CredentialProvider, path *field.Path) (faults field.ErrorList) {
	t := p.TokenAttributes
	add := func(e *field.Error) { faults = append(faults, e) }
	if t.ServiceAccountTokenAudience == "" {
		add(field.Required(path.Child("serviceAccountTokenAudience"), ""))
	}
	if t.RequireServiceAccount == nil {
		add(field.Required(path.Child("requireServiceAccount"), ""))
	}
	if v1 := providerv1.SchemeGroupVersion.String(); p.APIVersion != v1 {
		add(field.Forbidden(path, fmt.Sprintf("tokenAttributes is only supported for %s API version", v1)))
	}
	if t.RequireServiceAccount != nil && !*t.RequireServiceAccount && len(t.RequiredServiceAccountAnnotationKeys) > 0 {
		add(field.Forbidden(path.Child("requiredServiceAccountAnnotationKeys"), "requireServiceAccount cannot be false when requiredServiceAccountAnnotationKeys is set"))
	}
	faults = append(faults, validateKeys(t.RequiredServiceAccountAnnotationKeys, path.Child("requiredServiceAccountAnnotationKeys"))...)
	faults = append(faults, validateKeys(t.OptionalServiceAccountAnnotationKeys, path.Child("optionalServiceAccountAnnotationKeys"))...)
	var both []string
	for _, k := range t.RequiredServiceAccountAnnotationKeys {
		if slices.Contains(t.OptionalServiceAccountAnnotationKeys, k) {
			both = append(both, k)
		}
	}
	if len(both) > 0 {
		add(field.Invalid(path, both, "annotation keys cannot be both required and optional"))
	}
	kinds := []string{string(configv1.ServiceAccountServiceAccountTokenCacheType), string(configv1.TokenServiceAccountTokenCacheType)}
	switch {
	case t.CacheType == "":
		add(field.Required(path.Child("cacheType"), "cacheType is required to be set when tokenAttributes is specified. Supported values are: "+strings.Join(kinds, ", ")))
	case !slices.Contains(kinds, string(t.CacheType)):
		add(field.NotSupported(path.Child("cacheType"), string(t.CacheType), kinds))
	}
	return faults
}

func validateKeys(keys []string, path *field.Path) (faults field.ErrorList) {
	seen := map[string]bool{}
	for _, k := range keys {
		for _, message := range validation.IsQualifiedName(strings.ToLower(k)) {
			faults = append(faults, field.Invalid(path, k, message))
		}
		if seen[k] {
			faults = append(faults, field.Duplicate(path, k))
		}
		seen[k] = true
	}
	return faults
}
