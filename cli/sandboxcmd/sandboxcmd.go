// Package sandboxcmd is `clipper sandbox`: local clusters on the command line.
package sandboxcmd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"clipper/sandbox"
)

// New returns the command tree.
func New() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Make and use local clusters",
		Long: `A sandbox is a cluster on this machine: each node a network namespace with its own
processes, data directory and cgroups. It reaches nothing outside of the machine, and
"clipper sandbox delete" removes every trace of it.

Sandboxes are kept in /var/lib/clipper/sandboxes, or in the directory that the
environment variable ` + sandbox.DirEnv + ` names.`,
		Example: `  clipper sandbox create
  export KUBECONFIG=$(clipper sandbox kubeconfig --path)
  clipper kubectl get nodes
  clipper sandbox image-load default web.tar
  clipper sandbox exec -- curl http://web.default.svc.cluster.local
  clipper sandbox delete`,
	}
	for _, c := range []*cobra.Command{deleteCmd(), kubeconfigCmd(), execCmd(), imageLoadCmd()} {
		c.ValidArgsFunction = completeNames
		cmd.AddCommand(c)
	}
	cmd.AddCommand(createCmd(), listCmd())
	return cmd
}

// completeNames offers the sandboxes there are as the first argument, files after it.
func completeNames(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	list, err := sandbox.List()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var names []string
	for _, s := range list {
		names = append(names, s.Name)
	}
	return names, cobra.ShellCompDirectiveDefault
}

// named returns the sandbox that the first of args names, or the default one.
func named(args []string) (sandbox.Sandbox, error) {
	if len(args) == 0 {
		return sandbox.Named(sandbox.DefaultName)
	}
	return sandbox.Named(args[0])
}

func createCmd() *cobra.Command {
	var o sandbox.Options
	cmd := &cobra.Command{
		Use:   "create [NAME]",
		Short: "Make a local cluster and wait until its nodes are ready",
		Long: `Makes a local cluster and returns when all its nodes are ready. Repeated, it starts again
what does not run, for example after a reboot; pods and objects are kept.`,
		Example: `  clipper sandbox create
  clipper sandbox create test --nodes 3`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := named(args)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("nodes") && o.Nodes < 1 {
				return fmt.Errorf("sandbox %s: --nodes %d: must be at least 1", s.Name, o.Nodes)
			}
			start := time.Now()
			o.Progress = func(step string) { fmt.Fprintf(cmd.ErrOrStderr(), "%5.1fs  %s\n", time.Since(start).Seconds(), step) }
			if err := s.Create(cmd.Context(), o); err != nil {
				return err
			}
			o.Progress("ready")
			fmt.Fprintf(cmd.OutOrStdout(), "sandbox %s is ready. To use it:\n  export KUBECONFIG=%s\n", s.Name, sandbox.KubeconfigPath(s.Name))
			return nil
		},
	}
	cmd.Flags().IntVar(&o.Nodes, "nodes", 0, "number of nodes; default 1, or as many as the sandbox has")
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "if it fails, leave what there is, to look at")
	cmd.Flags().StringVar(&o.KubeletConfig, "kubelet-config", "", "KubeletConfiguration of the nodes, kept with the sandbox")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", time.Minute, "how long to wait for the nodes")
	return cmd
}

func deleteCmd() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "delete [NAME]",
		Aliases: []string{"rm"},
		Short:   "Remove a local cluster and every trace of it",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !all {
				s, err := named(args)
				if err != nil {
					return err
				}
				return remove(cmd.ErrOrStderr(), s)
			}
			if len(args) > 0 {
				return errors.New("sandbox delete: give a name or --all, not both")
			}
			list, err := sandbox.List()
			if err != nil {
				return err
			}
			var errs []error
			for _, sum := range list {
				s, err := sandbox.Named(sum.Name)
				if err == nil {
					err = remove(cmd.ErrOrStderr(), s)
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "remove all local clusters")
	return cmd
}

func remove(w io.Writer, s sandbox.Sandbox) error {
	fmt.Fprintf(w, "removing sandbox %s\n", s.Name)
	return s.Delete()
}

func listCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List local clusters",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := sandbox.List()
			if err != nil {
				return err
			}
			return printList(cmd.OutOrStdout(), list, time.Now())
		},
	}
}

func printList(w io.Writer, list []sandbox.Summary, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "NAME\tNODES\tRUNNING\tSERVER\tAGE")
	for _, s := range list {
		age := "unknown"
		if !s.Created.IsZero() {
			age = now.Sub(s.Created).Round(time.Second).String()
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\n", s.Name, s.Nodes, s.Running, s.Server, age)
	}
	return t.Flush()
}

func kubeconfigCmd() *cobra.Command {
	var path, merge bool
	cmd := &cobra.Command{
		Use:   "kubeconfig [NAME]",
		Short: "Print the kubeconfig of a local cluster",
		Example: `  clipper sandbox kubeconfig > kubeconfig
  export KUBECONFIG=$(clipper sandbox kubeconfig --path)
  clipper sandbox kubeconfig --merge`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := named(args)
			if err != nil {
				return err
			}
			if merge {
				into, err := s.MergeKubeconfig()
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "context clipper-%s is now the current one in %s\n", s.Name, into)
				return nil
			}
			data, err := s.Kubeconfig()
			if err != nil {
				return err
			}
			if path {
				data = []byte(sandbox.KubeconfigPath(s.Name) + "\n")
			}
			_, err = cmd.OutOrStdout().Write(data)
			return err
		},
	}
	cmd.Flags().BoolVar(&path, "path", false, "print the name of the file instead of what is in it")
	cmd.Flags().BoolVar(&merge, "merge", false, "add it to your own kubeconfig, as its current context")
	cmd.MarkFlagsMutuallyExclusive("path", "merge")
	return cmd
}

func execCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "exec [NAME] -- COMMAND [ARG]...",
		Short: "Run a command on the network of a local cluster",
		Long: `Runs a command on this machine's files but on the network of a local cluster: nodes, pods
and services answer by address and by name, and KUBECONFIG names the cluster.`,
		Example: `  clipper sandbox exec -- curl http://web.default.svc.cluster.local
  clipper sandbox exec test -- sh`,
		RunE: func(cmd *cobra.Command, args []string) error {
			names, command := args, []string(nil)
			if at := cmd.ArgsLenAtDash(); at >= 0 {
				names, command = args[:at], args[at:]
			}
			if len(names) > 1 || len(command) == 0 {
				return errors.New("sandbox exec: say which command to run after --, such as: clipper sandbox exec -- curl http://web.default.svc.cluster.local")
			}
			s, err := named(names)
			if err != nil {
				return err
			}
			return s.Exec(command)
		},
	}
}

func imageLoadCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "image-load [NAME] ARCHIVE...",
		Short: "Put images from archives on every node of a local cluster",
		Long: `Reads docker- and OCI-archives, as "docker save" and "clipper image export" write them, and
puts their images on every node. The first argument is the cluster's name unless it is
a file.`,
		Example: `  clipper sandbox image-load web.tar
  clipper sandbox image-load test web.tar store.tar`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, archives := sandbox.DefaultName, args
			if st, err := os.Stat(args[0]); len(args) > 1 && (err != nil || !st.Mode().IsRegular()) {
				name, archives = args[0], args[1:]
			}
			s, err := sandbox.Named(name)
			if err != nil {
				return err
			}
			return s.LoadImages(cmd.Context(), archives, func(step string) { fmt.Fprintln(cmd.ErrOrStderr(), step) })
		},
	}
}
