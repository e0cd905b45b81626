/** bpf(2) as those know it who call it, from Node and from a nursery: numbers of linux/bpf.h. */

/** Numbers of the system call, on machines that write the low byte first, as programs are written here. */
export const BPF_CALLS: Readonly<Record<string, number>> = {
  x64: 321,
  arm64: 280,
  loong64: 280,
  ppc64: 361,
  riscv64: 280,
};

/** `attributeBytes`: of `union bpf_attr`, as long as any call here needs it. */
export const BPF = {
  load: 5,
  attach: 8,
  attributeBytes: 128,
  /** Others' programs, systemd's among them, stay beside ours: all of them must allow it. */
  allowMulti: 2,
  /** The verifier gives up with EAGAIN when a signal comes meanwhile (a child that ends, a profiler's clock): asked again, as libbpf does. */
  maxTries: 5,
} as const;

/** What a program is asked about. */
export interface BpfKind {
  /** `BPF_PROG_TYPE_…` and the `BPF_CGROUP_…` that it is attached as. */
  readonly programType: number;
  readonly attachType: number;
  /** By which ours are known again; 15 letters at most. */
  readonly name: string;
}
