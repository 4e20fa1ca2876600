-- How many GPUs the tenant's deployments may be charged together. NULL: as many as the platform gives everybody.
ALTER TABLE tenants ADD COLUMN gpus bigint CHECK (gpus >= 0);
