/** Procedures of domains: definition, start and end, state, saving. */
import type { CreateOptions, UndefineOptions, XmlOptions } from '../../../driver/driver.ts';
import type { SaveOptions } from '../../../driver/saving-operations.ts';
import { fromTypedParams, type TypedParam } from '../../../protocol/index.ts';
import type { DOMAIN_LIFECYCLE_PROCEDURES } from '../../../protocol/remote/domain-lifecycle.ts';
import { affectFromFlags, identityToWire, uuidFromWire, type WireDomain } from '../../convert.ts';
import {
  CreateFlag,
  DefineFlag,
  DestroyFlag,
  DUMP_FORMATS,
  DumpFlag,
  LIFECYCLE_ACTIONS,
  LIFECYCLE_TRIGGERS,
  namesOf,
  POWER_MODES,
  SaveFlag,
  UndefineFlag,
  XmlDescFlag,
} from '../../flags.ts';
import { markForDestruction } from '../autodestroy.ts';
import {
  checkFlags,
  DONE,
  type Done,
  group,
  type HandlerSession,
  type Handlers,
  invalidArg,
  oneOf,
  uuidOf,
} from '../handler.ts';

const CREATE_FLAGS = 0x3f;
const AFFECT_FLAGS = 3;

export const lifecycleHandlers: Handlers<typeof DOMAIN_LIFECYCLE_PROCEDURES> = {
  domainLookupById: async ({ driver }, { id }) => ({ dom: identityToWire(await driver.lookupById(id)) }),
  domainLookupByName: async ({ driver }, { name }) => ({ dom: identityToWire(await driver.lookupByName(name)) }),
  domainLookupByUuid: async ({ driver }, { uuid }) => ({
    dom: identityToWire(await driver.lookupByUuid(uuidFromWire(uuid))),
  }),

  domainDefineXml: async ({ driver, signal }, { xml }) => ({
    dom: identityToWire(await driver.defineDomain(xml, { signal })),
  }),
  domainDefineXmlFlags: async ({ driver, signal }, { xml, flags }) => {
    checkFlags(flags, DefineFlag.VALIDATE, 'virDomainDefineXMLFlags');
    const validate = (flags & DefineFlag.VALIDATE) !== 0;
    return { dom: identityToWire(await driver.defineDomain(xml, { validate, signal })) };
  },
  domainUndefine: async (session, { dom }) => await undefine(session, dom, 0),
  domainUndefineFlags: async (session, { dom, flags }) => await undefine(session, dom, flags),
  domainRename: async ({ driver }, { dom, newName, flags }) => {
    checkFlags(flags, 0, 'virDomainRename');
    if (newName === undefined || newName === '') throw invalidArg('the new name is empty');
    await driver.rename(uuidOf(dom), newName);
    return { retcode: 0 };
  },

  domainCreate: async (session, { dom }) => {
    await create(session, dom, 0);
    return DONE;
  },
  domainCreateWithFlags: async (session, { dom, flags }) => ({ dom: await create(session, dom, flags) }),
  domainCreateXml: async (session, { xmlDesc, flags }) => {
    checkFlags(flags, CREATE_FLAGS, 'virDomainCreateXML');
    const identity = await session.driver.createXml(xmlDesc, createOptions(session, flags));
    if ((flags & CreateFlag.AUTODESTROY) !== 0) await markForDestruction(session, identity);
    return { dom: identityToWire(identity) };
  },
  domainDestroy: async ({ driver }, { dom }) => {
    await driver.destroy(uuidOf(dom));
    return DONE;
  },
  domainDestroyFlags: async ({ driver }, { dom, flags }) => {
    checkFlags(flags, DestroyFlag.GRACEFUL | DestroyFlag.REMOVE_LOGS, 'virDomainDestroyFlags');
    await driver.destroy(uuidOf(dom), { graceful: (flags & DestroyFlag.GRACEFUL) !== 0 });
    return DONE;
  },
  domainShutdown: async ({ driver }, { dom }) => {
    await driver.shutdown(uuidOf(dom));
    return DONE;
  },
  domainShutdownFlags: async ({ driver }, { dom, flags }) => {
    await driver.shutdown(uuidOf(dom), { modes: powerModes(flags, 'virDomainShutdownFlags') });
    return DONE;
  },
  domainReboot: async ({ driver }, { dom, flags }) => {
    await driver.reboot(uuidOf(dom), { modes: powerModes(flags, 'virDomainReboot') });
    return DONE;
  },
  domainReset: async ({ driver }, { dom, flags }) => {
    checkFlags(flags, 0, 'virDomainReset');
    await driver.reset(uuidOf(dom));
    return DONE;
  },
  domainSuspend: async ({ driver }, { dom }) => {
    await driver.suspend(uuidOf(dom));
    return DONE;
  },
  domainResume: async ({ driver }, { dom }) => {
    await driver.resume(uuidOf(dom));
    return DONE;
  },

  domainGetInfo: async ({ driver }, { dom }) => {
    const info = await driver.info(uuidOf(dom));
    return {
      state: info.state,
      maxMem: BigInt(info.maxMemoryKiB),
      memory: BigInt(info.memoryKiB),
      nrVirtCpu: info.vcpus,
      cpuTime: info.cpuTimeNs,
    };
  },
  domainGetState: async ({ driver }, { dom, flags }) => {
    checkFlags(flags, 0, 'virDomainGetState');
    return await driver.state(uuidOf(dom));
  },
  domainIsActive: async ({ driver }, { dom }) => ({ active: (await driver.lookupByUuid(uuidOf(dom))).id >= 0 ? 1 : 0 }),
  domainIsPersistent: async ({ driver }, { dom }) => ({ persistent: (await driver.isPersistent(uuidOf(dom))) ? 1 : 0 }),
  // Definitions are on disk before their change is answered.
  domainIsUpdated: async ({ driver }, { dom }) => {
    await driver.lookupByUuid(uuidOf(dom));
    return { updated: 0 };
  },
  domainGetOsType: async ({ driver }, { dom }) => {
    const xml = await driver.xmlDesc(uuidOf(dom));
    return { type: /<os>[^]*?<type[^>]*>([^<]*)</.exec(xml)?.[1] ?? 'hvm' };
  },
  domainGetXmlDesc: async (session, { dom, flags }) => {
    checkFlags(flags, 0xf, 'virDomainGetXMLDesc');
    return { xml: await session.driver.xmlDesc(uuidOf(dom), xmlOptions(flags)) };
  },
  domainGetAutostart: async ({ driver }, { dom }) => ({ autostart: (await driver.autostart(uuidOf(dom))) ? 1 : 0 }),
  domainSetAutostart: async ({ driver }, { dom, autostart }) => {
    await driver.setAutostart(uuidOf(dom), autostart !== 0);
    return DONE;
  },
  domainSetLifecycleAction: async (session, { dom, type, action, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainSetLifecycleAction');
    await group(session, 'devices').setLifecycleAction(
      uuidOf(dom),
      oneOf(LIFECYCLE_TRIGGERS, type, 'lifecycle type'),
      oneOf(LIFECYCLE_ACTIONS, action, 'lifecycle action'),
      affectFromFlags(flags),
    );
    return DONE;
  },

  domainSave: async (session, { dom, to }) => {
    await group(session, 'saving').save(uuidOf(dom), to);
    return DONE;
  },
  domainSaveFlags: async (session, { dom, to, dxml, flags }) => {
    await group(session, 'saving').save(uuidOf(dom), to, { ...saveOptions(flags, 'virDomainSaveFlags'), xml: dxml });
    return DONE;
  },
  domainRestore: async (session, { from }) => {
    await group(session, 'saving').restore(from);
    return DONE;
  },
  domainRestoreFlags: async (session, { from, dxml, flags }) => {
    const options = { ...saveOptions(flags, 'virDomainRestoreFlags'), xml: dxml };
    await group(session, 'saving').restore(from, options);
    return DONE;
  },
  domainSaveImageGetXmlDesc: async (session, { file, flags }) => {
    checkFlags(flags, XmlDescFlag.SECURE, 'virDomainSaveImageGetXMLDesc');
    const secure = (flags & XmlDescFlag.SECURE) !== 0;
    return { xml: await group(session, 'saving').savedXml(file, { secure }) };
  },
  domainSaveImageDefineXml: async (session, { file, dxml, flags }) => {
    const { resume } = saveOptions(flags, 'virDomainSaveImageDefineXML');
    await group(session, 'saving').defineSaved(file, dxml, { resume });
    return DONE;
  },
  domainManagedSave: async (session, { dom, flags }) => {
    await group(session, 'saving').managedSave(uuidOf(dom), saveOptions(flags, 'virDomainManagedSave'));
    return DONE;
  },
  domainHasManagedSaveImage: async (session, { dom, flags }) => {
    checkFlags(flags, 0, 'virDomainHasManagedSaveImage');
    return { result: (await group(session, 'saving').hasManagedSave(uuidOf(dom))) ? 1 : 0 };
  },
  domainManagedSaveRemove: async (session, { dom, flags }) => {
    checkFlags(flags, 0, 'virDomainManagedSaveRemove');
    await group(session, 'saving').removeManagedSave(uuidOf(dom));
    return DONE;
  },
  domainManagedSaveGetXmlDesc: async (session, { dom, flags }) => {
    checkFlags(flags, XmlDescFlag.SECURE, 'virDomainManagedSaveGetXMLDesc');
    const { secure = false } = xmlOptions(flags);
    return { xml: await group(session, 'saving').managedSaveXml(uuidOf(dom), { secure }) };
  },
  domainManagedSaveDefineXml: async (session, { dom, dxml, flags }) => {
    if (dxml === undefined) throw invalidArg('there is no definition');
    const { resume } = saveOptions(flags, 'virDomainManagedSaveDefineXML');
    await group(session, 'saving').defineManagedSave(uuidOf(dom), dxml, { resume });
    return DONE;
  },
  domainCoreDump: async (session, { dom, to, flags }) => await coreDump(session, dom, to, 0, flags),
  domainCoreDumpWithFormat: async (session, { dom, to, dumpformat, flags }) =>
    await coreDump(session, dom, to, dumpformat, flags),
};

/** Procedures of the same kind that the table has elsewhere. */
export async function saveParams(
  session: HandlerSession,
  dom: WireDomain,
  params: readonly TypedParam[],
  flags: number,
): Promise<Done> {
  const { file, dxml, format } = saveParameters(params);
  const options = { ...saveOptions(flags, 'virDomainSaveParams'), xml: dxml, format };
  const saving = group(session, 'saving');
  await (file === undefined ? saving.managedSave(uuidOf(dom), options) : saving.save(uuidOf(dom), file, options));
  return DONE;
}

export async function restoreParams(
  session: HandlerSession,
  params: readonly TypedParam[],
  flags: number,
): Promise<Done> {
  const { file, dxml } = saveParameters(params);
  if (file === undefined) throw invalidArg('the parameter file is missing');
  await group(session, 'saving').restore(file, { ...saveOptions(flags, 'virDomainRestoreParams'), xml: dxml });
  return DONE;
}

function saveParameters(params: readonly TypedParam[]): {
  file: string | undefined;
  dxml: string | undefined;
  format: string | undefined;
} {
  const record = fromTypedParams(params);
  const text = (name: string): string | undefined => {
    const value = record[name];
    return value === undefined ? undefined : String(value);
  };
  return { file: text('file'), dxml: text('dxml'), format: text('image_format') };
}

async function undefine({ driver }: HandlerSession, dom: WireDomain, flags: number): Promise<Done> {
  checkFlags(flags, 0x7f, 'virDomainUndefineFlags');
  const options: UndefineOptions = {
    managedSave: (flags & UndefineFlag.MANAGED_SAVE) !== 0,
    snapshotsMetadata: (flags & UndefineFlag.SNAPSHOTS_METADATA) !== 0,
    nvram: (flags & UndefineFlag.NVRAM) !== 0,
    keepNvram: (flags & UndefineFlag.KEEP_NVRAM) !== 0,
    checkpointsMetadata: (flags & UndefineFlag.CHECKPOINTS_METADATA) !== 0,
    tpm: (flags & UndefineFlag.TPM) !== 0,
    keepTpm: (flags & UndefineFlag.KEEP_TPM) !== 0,
  };
  await driver.undefine(uuidOf(dom), options);
  return DONE;
}

async function create(session: HandlerSession, dom: WireDomain, flags: number): Promise<WireDomain> {
  checkFlags(flags, CREATE_FLAGS, 'virDomainCreateWithFlags');
  const uuid = uuidOf(dom);
  const identity = await session.driver.create(uuid, createOptions(session, flags));
  if ((flags & CreateFlag.AUTODESTROY) !== 0) await markForDestruction(session, identity);
  return identityToWire(identity);
}

function createOptions({ signal }: HandlerSession, flags: number): CreateOptions {
  return {
    paused: (flags & CreateFlag.PAUSED) !== 0,
    autodestroy: (flags & CreateFlag.AUTODESTROY) !== 0,
    bypassCache: (flags & CreateFlag.BYPASS_CACHE) !== 0,
    forceBoot: (flags & CreateFlag.FORCE_BOOT) !== 0,
    validate: (flags & CreateFlag.VALIDATE) !== 0,
    resetNvram: (flags & CreateFlag.RESET_NVRAM) !== 0,
    // A guest belongs to its daemon, not to whoever asked for it, unless that was asked for too.
    ...((flags & CreateFlag.AUTODESTROY) === 0 ? {} : { signal }),
  };
}

function xmlOptions(flags: number): XmlOptions {
  return {
    secure: (flags & XmlDescFlag.SECURE) !== 0,
    inactive: (flags & XmlDescFlag.INACTIVE) !== 0,
    updateCpu: (flags & XmlDescFlag.UPDATE_CPU) !== 0,
    migratable: (flags & XmlDescFlag.MIGRATABLE) !== 0,
  };
}

function powerModes(flags: number, api: string): (typeof POWER_MODES)[number][] | undefined {
  checkFlags(flags, 0x1f, api);
  return flags === 0 ? undefined : namesOf(POWER_MODES, flags);
}

function saveOptions(flags: number, api: string): SaveOptions {
  checkFlags(flags, SaveFlag.BYPASS_CACHE | SaveFlag.RUNNING | SaveFlag.PAUSED, api);
  const isRunning = (flags & SaveFlag.RUNNING) !== 0;
  const isPaused = (flags & SaveFlag.PAUSED) !== 0;
  if (isRunning && isPaused) throw invalidArg(`running and paused exclude each other in ${api}`);
  return {
    bypassCache: (flags & SaveFlag.BYPASS_CACHE) !== 0,
    resume: isRunning ? 'running' : isPaused ? 'paused' : undefined,
  };
}

async function coreDump(
  session: HandlerSession,
  dom: WireDomain,
  to: string,
  format: number,
  flags: number,
): Promise<Done> {
  checkFlags(flags, 0x1f, 'virDomainCoreDump');
  await group(session, 'saving').coreDump(uuidOf(dom), to, {
    live: (flags & DumpFlag.LIVE) !== 0,
    crash: (flags & DumpFlag.CRASH) !== 0,
    reset: (flags & DumpFlag.RESET) !== 0,
    bypassCache: (flags & DumpFlag.BYPASS_CACHE) !== 0,
    memoryOnly: (flags & DumpFlag.MEMORY_ONLY) !== 0,
    format: oneOf(DUMP_FORMATS, format, 'dump format'),
  });
  return DONE;
}
