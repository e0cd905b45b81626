/** Procedures about a connection: what the server is, lists of domains, capabilities. */
import { filterOfFlags } from '../../../api/flags.ts';
import { ErrorCode, VirtError } from '../../../core/errors.ts';
import { LogSource } from '../../../core/log-source.ts';
import type { DomainIdentity } from '../../../driver/driver.ts';
import type { BaselineCpuOptions, CompareCpuOptions } from '../../../driver/node-operations.ts';
import { toTypedParams } from '../../../protocol/index.ts';
import type { CONNECT_PROCEDURES } from '../../../protocol/remote/connect.ts';
import { identityToWire, uuidFromWire } from '../../convert.ts';
import { BaselineCpuFlag, CompareCpuFlag, CPU_COMPARISONS, namesOf, STATS_GROUPS, StatsFlag } from '../../flags.ts';
import { notServed } from '../error-text.ts';
import { atMost, checkFlags, DONE, group, type HandlerSession, type Handlers } from '../handler.ts';

/** LIBVIR_VERSION_NUMBER of the library whose protocol and behaviour are served. */
const LIBRARY_VERSION = 11_003_000n;
/** Bits of virConnectListAllDomains; the ones of snapshots and checkpoints are taken too: nothing has any. */
const LIST_FLAGS = 0xffff;
const STATS_FILTERS = 0xff;
const COMPARE_FLAGS = CompareCpuFlag.FAIL_INCOMPATIBLE | CompareCpuFlag.VALIDATE_XML;
const BASELINE_FLAGS = BaselineCpuFlag.EXPAND_FEATURES | BaselineCpuFlag.MIGRATABLE;

const log = new LogSource('daemon.remote');

export const connectHandlers: Handlers<typeof CONNECT_PROCEDURES> = {
  connectGetType: ({ driver }) => ({ type: driver.type }),
  connectGetVersion: async ({ driver, signal }) => ({ hvVer: BigInt(await driver.version({ signal })) }),
  connectGetLibVersion: () => ({ libVer: LIBRARY_VERSION }),
  connectGetUri: ({ driver }) => ({ uri: driver.uri }),
  connectGetHostname: async (session) => ({ hostname: await group(session, 'node').hostname() }),
  connectGetSysinfo: async (session, { flags }) => {
    checkFlags(flags, 0, 'virConnectGetSysinfo');
    return { sysinfo: await group(session, 'node').sysinfo() };
  },
  connectGetMaxVcpus: async (session, { type }) => ({ maxVcpus: await group(session, 'node').maxVcpus(type) }),
  connectGetCapabilities: async ({ driver, signal }) => ({ capabilities: await driver.capabilities({ signal }) }),
  connectGetDomainCapabilities: async ({ driver, signal }, { emulatorbin, arch, machine, virttype, flags }) => {
    checkFlags(flags, 0, 'virConnectGetDomainCapabilities');
    return {
      capabilities: await driver.domainCapabilities({ emulator: emulatorbin, arch, machine, virttype, signal }),
    };
  },
  connectIsSecure: ({ isSecure }) => ({ secure: isSecure ? 1 : 0 }),

  connectListAllDomains: async ({ driver }, { needResults, flags }) => {
    checkFlags(flags, LIST_FLAGS, 'virConnectListAllDomains');
    const found = await driver.listDomains(filterOfFlags(flags));
    return { domains: needResults === 0 ? [] : found.map(identityToWire), ret: found.length };
  },
  connectListDomains: async (session, { maxids }) => ({
    ids: atMost(
      (await listed(session, true)).map(({ id }) => id),
      maxids,
    ),
  }),
  connectNumOfDomains: async (session) => ({ num: (await listed(session, true)).length }),
  connectListDefinedDomains: async (session, { maxnames }) => ({
    names: atMost(
      (await listed(session, false)).map(({ name }) => name),
      maxnames,
    ),
  }),
  connectNumOfDefinedDomains: async (session) => ({ num: (await listed(session, false)).length }),

  connectGetAllDomainStats: async (session, { doms, stats, flags }) => {
    checkFlags(
      flags,
      (STATS_FILTERS | StatsFlag.NOWAIT | StatsFlag.BACKING | ENFORCE) >>> 0,
      'virConnectGetAllDomainStats',
    );
    const inspection = group(session, 'inspection');
    const domains =
      doms.length > 0
        ? await Promise.all(doms.map((dom) => session.driver.lookupByUuid(uuidFromWire(dom.uuid)).catch(ifGone)))
        : await session.driver.listDomains(filterOfFlags(flags & STATS_FILTERS));
    const groups = stats === 0 ? undefined : namesOf(STATS_GROUPS, stats);
    const noWait = (flags & StatsFlag.NOWAIT) !== 0;
    const backing = (flags & StatsFlag.BACKING) !== 0;
    const retStats = await Promise.all(
      domains.map(async (domain) => {
        if (domain === undefined) return [];
        // A domain that goes meanwhile is left out, as the others' numbers are what was asked for.
        const found = await inspection.stats(domain.uuid, { groups, noWait, backing }).catch((error: unknown) => {
          log.warn('stats', () => `domain ${domain.name} is left out: ${String(error)}`);
          return undefined;
        });
        return found === undefined ? [] : [{ dom: identityToWire(domain), params: toTypedParams(found) }];
      }),
    );
    return { retStats: retStats.flat() };
  },

  connectDomainXmlToNative: async ({ driver, signal }, { nativeFormat, domainXml, flags }) => {
    checkFlags(flags, 0, 'virConnectDomainXMLToNative');
    return { nativeConfig: await driver.domainXmlToNative(nativeFormat, domainXml, { signal }) };
  },
  connectDomainXmlFromNative: async ({ driver, signal }, { nativeFormat, nativeConfig, flags }) => {
    checkFlags(flags, 0, 'virConnectDomainXMLFromNative');
    const found = await driver.domainXmlFromNative?.(nativeFormat, nativeConfig, { signal });
    if (found === undefined) throw notServed({ api: 'virConnectDomainXMLFromNative' });
    return { domainXml: found.xml };
  },
  connectGetCpuModelNames: async (session, { arch, needResults, flags }) => {
    checkFlags(flags, 0, 'virConnectGetCPUModelNames');
    const models = await group(session, 'node').cpuModelNames(arch);
    return { models: needResults === 0 ? [] : models, ret: models.length };
  },
  connectCompareCpu: async (session, { xml, flags }) => {
    checkFlags(flags, COMPARE_FLAGS, 'virConnectCompareCPU');
    const found = await group(session, 'node').compareCpu(xml, compareOptions(flags));
    return { result: CPU_COMPARISONS.indexOf(found) };
  },
  connectCompareHypervisorCpu: async (session, { emulator, arch, machine, virttype, xmlCPU, flags }) => {
    checkFlags(flags, COMPARE_FLAGS, 'virConnectCompareHypervisorCPU');
    const query = { emulator, arch, machine, virttype };
    const found = await group(session, 'node').compareHypervisorCpu(query, xmlCPU, compareOptions(flags));
    return { result: CPU_COMPARISONS.indexOf(found) };
  },
  connectBaselineCpu: async (session, { xmlCPUs, flags }) => {
    checkFlags(flags, BASELINE_FLAGS, 'virConnectBaselineCPU');
    return { cpu: await group(session, 'node').baselineCpu(xmlCPUs, baselineOptions(flags)) };
  },
  connectBaselineHypervisorCpu: async (session, { emulator, arch, machine, virttype, xmlCPUs, flags }) => {
    checkFlags(flags, BASELINE_FLAGS, 'virConnectBaselineHypervisorCPU');
    const query = { emulator, arch, machine, virttype };
    return { cpu: await group(session, 'node').baselineHypervisorCpu(query, xmlCPUs, baselineOptions(flags)) };
  },
  // Who asks is known from the socket; what a proxy says of its own client changes nothing here.
  connectSetIdentity: () => DONE,
};

/** VIR_CONNECT_GET_ALL_DOMAINS_STATS_ENFORCE_STATS. */
const ENFORCE = 1 << 31;

async function listed({ driver }: HandlerSession, active: boolean): Promise<DomainIdentity[]> {
  return await driver.listDomains({ active });
}

function compareOptions(flags: number): CompareCpuOptions {
  return { failIncompatible: (flags & CompareCpuFlag.FAIL_INCOMPATIBLE) !== 0 };
}

function baselineOptions(flags: number): BaselineCpuOptions {
  return {
    expandFeatures: (flags & BaselineCpuFlag.EXPAND_FEATURES) !== 0,
    migratable: (flags & BaselineCpuFlag.MIGRATABLE) !== 0,
  };
}

/** A domain that is not there any more is no failure of a list's. */
function ifGone(error: unknown): undefined {
  if (error instanceof VirtError && error.code === ErrorCode.NO_DOMAIN) return undefined;
  throw error;
}
