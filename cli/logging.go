package cli

import (
	"flag"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // the format json
	"k8s.io/klog/v2"
)

// debugVerbosity is from where on what is for developers is logged: upstream's meaning of the number.
const debugVerbosity = 4

// logging says what the process logs, and how.
type logging struct {
	verbose bool
	config  *logsapi.LoggingConfiguration // of the libraries that come from upstream, and in JSON of all
}

func newLogging() *logging {
	config := logsapi.NewLoggingConfiguration()
	config.FlushFrequency.Duration.Duration = time.Hour // nothing is buffered
	return &logging{config: config}
}

// short adds -v, which all commands have.
func (l *logging) short(f *pflag.FlagSet) {
	f.VarPF(verboseFlag{l}, "verbose", "v", "log more; a number, as in -v=4, says how much").NoOptDefVal = "true"
}

// flags adds what daemons have, under upstream's names.
func (l *logging) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&l.config.Format, "logging-format", l.config.Format, "form of the log: text, or json as upstream writes it")
	f.Var(logsapi.VerbosityLevelPflag(&l.config.Verbosity), "v", "how much is logged: 0 to 10; what is for developers from 4 on")
	f.Var(logsapi.VModuleConfigurationPflag(&l.config.VModule), "vmodule", "pattern=N, comma separated: how much is logged by files of the libraries that come from upstream")
}

// start takes effect on the process, once.
func (l *logging) start() error {
	if l.verbose {
		l.config.Verbosity = max(l.config.Verbosity, debugVerbosity)
	}
	if err := logsapi.Validate(l.config, nil, nil).ToAggregate(); err != nil {
		return err
	}
	if l.config.Format == logsapi.JSONLogFormat {
		return logsapi.ValidateAndApply(l.config, nil)
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: verbosity{}})))
	var level klog.Level
	if err := level.Set(strconv.FormatUint(uint64(l.config.Verbosity), 10)); err != nil {
		return err
	}
	libraries := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(libraries)
	return libraries.Set("vmodule", logsapi.VModuleConfigurationPflag(&l.config.VModule).String())
}

// verbosity is what is logged at the moment: a client of the API may change it.
type verbosity struct{}

// Level implements slog.Leveler.
func (verbosity) Level() slog.Level {
	if klog.V(debugVerbosity).Enabled() {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// verboseFlag is -v for all commands. Upstream's take a number there.
type verboseFlag struct{ *logging }

// String implements pflag.Value.
func (v verboseFlag) String() string { return "" }

// Set implements pflag.Value.
func (v verboseFlag) Set(text string) error {
	if _, err := strconv.Atoi(text); err == nil {
		return logsapi.VerbosityLevelPflag(&v.config.Verbosity).Set(text)
	}
	var err error
	v.verbose, err = strconv.ParseBool(text)
	return err
}

// Type implements pflag.Value.
func (v verboseFlag) Type() string { return "bool" }
