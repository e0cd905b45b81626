/** Procedures of domains that only measure: disks, interfaces, memory, CPU time, jobs. */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { MEMORY_STATS } from '../../../driver/inspection-operations.ts';
import { type TypedParam, toTypedParams } from '../../../protocol/index.ts';
import type { DOMAIN_TUNING_PROCEDURES } from '../../../protocol/remote/domain-tuning.ts';
import {
  ADDRESS_SOURCES,
  ADDRESS_TYPES,
  CONTROL_STATES,
  DISK_ERRORS,
  JOB_TYPES,
  JobFlag,
  PeekFlag,
} from '../../flags.ts';
import { atMost, checkFlags, DONE, group, type Handlers, invalidArg, oneOf, uuidOf } from '../handler.ts';

/** VIR_TYPED_PARAM_STRING_OKAY. */
const STRING_OKAY = 4;
/** One answer carries at most this much. */
const PEEK_MAX = 4 * 1024 * 1024;

export const inspectionHandlers: Handlers<typeof DOMAIN_TUNING_PROCEDURES> = {
  domainBlockStats: async (session, { dom, path }) => {
    const found = await group(session, 'inspection').blockStats(uuidOf(dom), path);
    const number = (name: string): bigint => BigInt(found[name] ?? -1);
    return {
      rdReq: number('rd_operations'),
      rdBytes: number('rd_bytes'),
      wrReq: number('wr_operations'),
      wrBytes: number('wr_bytes'),
      errs: number('errs'),
    };
  },
  domainBlockStatsFlags: async (session, { dom, path, nparams, flags }) => {
    checkFlags(flags, STRING_OKAY, 'virDomainBlockStatsFlags');
    const all = toTypedParams(await group(session, 'inspection').blockStats(uuidOf(dom), path));
    const params = nparams === 0 ? [] : atMost(all, nparams);
    return { params, nparams: nparams === 0 ? all.length : params.length };
  },
  domainGetBlockInfo: async (session, { dom, path, flags }) => {
    checkFlags(flags, 0, 'virDomainGetBlockInfo');
    return await group(session, 'inspection').blockInfo(uuidOf(dom), path);
  },
  domainInterfaceStats: async (session, { dom, device }) => {
    const found = await group(session, 'inspection').interfaceStats(uuidOf(dom), device);
    return {
      rxBytes: found.rxBytes,
      rxPackets: found.rxPackets,
      rxErrs: found.rxErrors,
      rxDrop: found.rxDropped,
      txBytes: found.txBytes,
      txPackets: found.txPackets,
      txErrs: found.txErrors,
      txDrop: found.txDropped,
    };
  },
  domainInterfaceAddresses: async (session, { dom, source, flags }) => {
    checkFlags(flags, 0, 'virDomainInterfaceAddresses');
    const from = oneOf(ADDRESS_SOURCES, source, 'source of addresses');
    const found = await group(session, 'inspection').interfaceAddresses(uuidOf(dom), from);
    return {
      ifaces: found.map(({ name, mac, addresses }) => ({
        name,
        hwaddr: mac,
        addrs: addresses.map(({ type, address, prefix }) => ({
          type: ADDRESS_TYPES.indexOf(type),
          addr: address,
          prefix,
        })),
      })),
    };
  },
  domainMemoryStats: async (session, { dom, maxStats, flags }) => {
    checkFlags(flags, 0, 'virDomainMemoryStats');
    const found = await group(session, 'inspection').memoryStats(uuidOf(dom));
    const stats = MEMORY_STATS.flatMap((name, tag) => {
      const val = found[name];
      return val === undefined ? [] : [{ tag, val }];
    });
    // libvirt asks the kernel for it last.
    const rss = stats.findIndex(({ tag }) => MEMORY_STATS[tag] === 'rss');
    if (rss >= 0) stats.push(...stats.splice(rss, 1));
    return { stats: atMost(stats, maxStats) };
  },
  domainGetCpuStats: async (session, { dom, nparams, startCpu, ncpus, flags }) => {
    checkFlags(flags, STRING_OKAY, 'virDomainGetCPUStats');
    const { total, perCpu } = await group(session, 'inspection').cpuStats(uuidOf(dom));
    if (startCpu === -1) {
      if (ncpus !== 1) throw invalidArg('the sum of all CPUs is asked for with one CPU');
      const all = toTypedParams(total);
      return nparams === 0
        ? { params: [], nparams: all.length }
        : { params: atMost(all, nparams), nparams: Math.min(nparams, all.length) };
    }
    if (startCpu < 0) throw invalidArg(`there is no CPU ${startCpu}`);
    if (perCpu.length === 0) {
      throw new VirtError('the time on each host CPU is counted by cgroup v1 only: ask for the total', {
        code: ErrorCode.OPERATION_INVALID,
        domain: ErrorDomain.QEMU,
      });
    }
    if (ncpus === 0) return { params: [], nparams: perCpu.length };
    const size = Object.keys(perCpu.find((one) => one !== undefined) ?? {}).length;
    if (nparams === 0) return { params: [], nparams: size };
    if (startCpu >= perCpu.length) throw invalidArg(`there is no CPU ${startCpu}: the host has ${perCpu.length}`);
    const params = perCpu
      .slice(startCpu, startCpu + ncpus)
      .flatMap((one): TypedParam[] => (one === undefined ? [] : toTypedParams(one).slice(0, nparams)));
    return { params, nparams: Math.min(nparams, size) };
  },
  domainGetDiskErrors: async (session, { dom, maxerrors, flags }) => {
    checkFlags(flags, 0, 'virDomainGetDiskErrors');
    const found = await group(session, 'inspection').diskErrors(uuidOf(dom));
    const errors = found.map(({ disk, error }) => ({ disk, error: DISK_ERRORS.indexOf(error) }));
    if (maxerrors === 0) return { errors: [], nerrors: await diskCount(session.driver.xmlDesc(uuidOf(dom))) };
    return { errors: atMost(errors, maxerrors), nerrors: errors.length };
  },
  domainGetControlInfo: async (session, { dom, flags }) => {
    checkFlags(flags, 0, 'virDomainGetControlInfo');
    const { state, sinceMs } = await group(session, 'inspection').controlState(uuidOf(dom));
    return { state: CONTROL_STATES.indexOf(state), details: 0, stateTime: BigInt(Math.round(sinceMs)) };
  },
  domainGetJobInfo: async (session, { dom }) => {
    const { type, parameters } = await group(session, 'inspection').jobStats(uuidOf(dom));
    const number = (name: string): bigint => BigInt(parameters[name] ?? 0);
    return {
      type: JOB_TYPES.indexOf(type),
      timeElapsed: number('time_elapsed'),
      timeRemaining: number('time_remaining'),
      dataTotal: number('data_total'),
      dataProcessed: number('data_processed'),
      dataRemaining: number('data_remaining'),
      memTotal: number('memory_total'),
      memProcessed: number('memory_processed'),
      memRemaining: number('memory_remaining'),
      fileTotal: number('disk_total'),
      fileProcessed: number('disk_processed'),
      fileRemaining: number('disk_remaining'),
    };
  },
  domainGetJobStats: async (session, { dom, flags }) => {
    checkFlags(flags, JobFlag.COMPLETED | JobFlag.KEEP_COMPLETED, 'virDomainGetJobStats');
    const completed = (flags & JobFlag.COMPLETED) !== 0;
    const keep = (flags & JobFlag.KEEP_COMPLETED) !== 0;
    const { type, parameters } = await group(session, 'inspection').jobStats(uuidOf(dom), { completed, keep });
    return { type: JOB_TYPES.indexOf(type), params: toTypedParams(parameters) };
  },
  domainAbortJob: async (session, { dom }) => {
    await group(session, 'inspection').abortJob(uuidOf(dom));
    return DONE;
  },
  domainAbortJobFlags: async (session, { dom, flags }) => {
    checkFlags(flags, 0, 'virDomainAbortJobFlags');
    await group(session, 'inspection').abortJob(uuidOf(dom));
    return DONE;
  },
  domainGetSecurityLabel: async (session, { dom }) => {
    const [first] = await group(session, 'inspection').securityLabels(uuidOf(dom));
    return labelToWire(first);
  },
  domainGetSecurityLabelList: async (session, { dom }) => {
    const labels = await group(session, 'inspection').securityLabels(uuidOf(dom));
    return { labels: labels.map(labelToWire), ret: labels.length };
  },
  domainSetBlockThreshold: async (session, { dom, dev, threshold, flags }) => {
    checkFlags(flags, 0, 'virDomainSetBlockThreshold');
    await group(session, 'inspection').setBlockThreshold(uuidOf(dom), dev, threshold);
    return DONE;
  },
  domainBlockPeek: async (session, { dom, path, offset, size, flags }) => {
    checkFlags(flags, 0, 'virDomainBlockPeek');
    if (size > PEEK_MAX) throw invalidArg(`${size} bytes at once, at most ${PEEK_MAX} are allowed`);
    return { buffer: await group(session, 'inspection').blockPeek(uuidOf(dom), path, offset, size) };
  },
  domainMemoryPeek: async (session, { dom, offset, size, flags }) => {
    checkFlags(flags, PeekFlag.VIRTUAL | PeekFlag.PHYSICAL, 'virDomainMemoryPeek');
    if (size > PEEK_MAX) throw invalidArg(`${size} bytes at once, at most ${PEEK_MAX} are allowed`);
    const physical = (flags & PeekFlag.PHYSICAL) !== 0;
    return { buffer: await group(session, 'inspection').memoryPeek(uuidOf(dom), offset, size, { physical }) };
  },
};

function labelToWire(found: { readonly label: string; readonly enforcing: boolean } | undefined): {
  label: Uint8Array;
  enforcing: number;
} {
  // A text in this list of characters ends with a NUL.
  return { label: Buffer.from(`${found?.label ?? ''}\0`), enforcing: found?.enforcing === true ? 1 : 0 };
}

/** How many errors there can be: one for each disk. */
async function diskCount(xml: Promise<string>): Promise<number> {
  return (await xml).split('<disk ').length - 1;
}
