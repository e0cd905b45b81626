/** `<launchSecurity>`: the object that makes a guest confidential. Its measurement and secrets are the runtime's work. */
import type { LaunchSecurity } from '../../../model/domain/launch-security.ts';
import { hasFeature, hasProperty } from '../capabilities/capabilities.ts';
import type { FeatureName } from '../capabilities/features.ts';
import { type DomainContext, fault, type PlanContext } from '../context.ts';
import type { Part } from '../plan/parts.ts';
import type { Props } from '../plan/props.ts';

const ID = 'lsec0';

/** What `-machine confidential-guest-support=` names; undefined for ordinary guests. */
export function launchSecurityId({ launchSecurity }: DomainContext['domain']): string | undefined {
  return launchSecurity === undefined ? undefined : ID;
}

/** The confidential guest object and the files it reads. */
export function planLaunchSecurity(context: PlanContext): Part[] {
  const { launchSecurity } = context.domain;
  if (launchSecurity === undefined) return [];
  return [{ kind: 'object', props: { ...objectProps(launchSecurity, context) } }];
}

function objectProps(security: LaunchSecurity, context: PlanContext): Props {
  switch (security.type) {
    case 'sev':
      return {
        'qom-type': 'sev-guest',
        id: ID,
        ...sevProps(security, context),
        'dh-cert-file': planBlob(context, 'dh_cert.base64', security.dhCert),
        'session-file': planBlob(context, 'session.base64', security.session),
        'kernel-hashes': security.kernelHashes,
      };
    case 'sev-snp':
      return {
        'qom-type': 'sev-snp-guest',
        id: ID,
        ...sevProps(security, context),
        'guest-visible-workarounds': security.guestVisibleWorkarounds,
        'id-block': security.idBlock,
        'id-auth': security.idAuth,
        'host-data': security.hostData,
        'kernel-hashes': security.kernelHashes,
        'author-key-enabled': security.authorKey,
        // The XML says whether to use the key, QEMU whether not to.
        'vcek-disabled': security.vcek === undefined ? undefined : !security.vcek,
      };
    case 's390-pv':
      return { 'qom-type': 's390-pv-guest', id: ID };
    default:
      return tdxProps(security);
  }
}

function sevProps(security: LaunchSecurity, { caps }: PlanContext): Props {
  return {
    cbitpos: security.cbitpos ?? caps.sev?.cbitPos,
    'reduced-phys-bits': security.reducedPhysBits ?? caps.sev?.reducedPhysBits,
    policy: toNumber(security.policy ?? 0n),
  };
}

function tdxProps(security: LaunchSecurity): Props {
  const { policy, quoteGenerationService: service } = security;
  return {
    'qom-type': 'tdx-guest',
    id: ID,
    attributes: policy === undefined ? undefined : toNumber(policy),
    mrconfigid: security.mrConfigId,
    mrowner: security.mrOwner,
    mrownerconfig: security.mrOwnerConfig,
    'quote-generation-socket':
      service === undefined ? undefined : { type: 'unix', path: service.path ?? '/var/run/tdx-qgs/qgs.socket' },
  };
}

/** Launch blobs are base64 text that QEMU reads from files. */
function planBlob(context: PlanContext, name: string, content: string | undefined): string | undefined {
  if (content === undefined) return undefined;
  const path = `${context.domainDir}/${name}`;
  context.files.push({ kind: 'file', path, mode: 0o600, content });
  return path;
}

function toNumber(value: bigint): number | bigint {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

const OBJECT_FEATURES: Readonly<Record<LaunchSecurity['type'], FeatureName>> = {
  sev: 'object-sev-guest',
  'sev-snp': 'object-sev-snp-guest',
  's390-pv': 'object-s390-pv-guest',
  tdx: 'object-tdx-guest',
};

/** The object exists, and has what it needs. */
export function validateLaunchSecurity(context: DomainContext): void {
  const { launchSecurity: security, os } = context.domain;
  if (security === undefined) return;
  if (!hasFeature(context.caps, OBJECT_FEATURES[security.type])) {
    fault(context, security, `this QEMU has no confidential guests of type '${security.type}'`, '@type');
    return;
  }
  if (!hasProperty(context.caps, 'none-machine', 'confidential-guest-support')) {
    fault(context, security, 'this QEMU has no confidential guests: use QEMU 6.0 or newer');
  }
  if ((security.type === 'sev' || security.type === 'sev-snp') && security.policy === undefined) {
    fault(context, security, `type='${security.type}' needs a <policy>`, 'policy');
  }
  if (security.type === 'sev' || security.type === 'sev-snp') {
    const { sev } = context.caps;
    if (
      (security.cbitpos ?? sev?.cbitPos) === undefined ||
      (security.reducedPhysBits ?? sev?.reducedPhysBits) === undefined
    ) {
      fault(context, security, 'this host does not tell its SEV parameters: give <cbitpos> and <reducedPhysBits>');
    }
  }
  if (security.type === 'sev' && security.kernelHashes !== undefined) {
    if (!hasFeature(context.caps, 'object-sev-guest-kernel-hashes')) {
      fault(context, security, 'this QEMU cannot measure kernels: remove kernelHashes', '@kernelHashes');
    }
  }
  const snpHashes = security.type === 'sev-snp' && security.kernelHashes === true;
  if (snpHashes && os?.kernel === undefined) {
    fault(context, security, "kernelHashes='yes' needs a <kernel>", '@kernelHashes');
  }
}
