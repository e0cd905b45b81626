/** Which threads of a running guest are what; who asks the guest for them is its driver. */

/** Kernel thread ids of a running guest. */
export interface GuestThreads {
  readonly pid: number;
  /** By number of the virtual CPU. Empty under TCG with one thread for all of them. */
  readonly vcpus: ReadonlyMap<number, number>;
  /** By number of the I/O thread. */
  readonly iothreads: ReadonlyMap<number, number>;
}
