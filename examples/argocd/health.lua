-- Health of an InferenceService for Argo CD. It reads conditions only, and never one of an earlier generation.
local hs = { status = "Progressing", message = "Waiting for the operator to report status" }
if obj.metadata.deletionTimestamp ~= nil then
  hs.message = "Deleting"
  return hs
end
if obj.status == nil or obj.status.conditions == nil then
  return hs
end
if obj.status.observedGeneration ~= obj.metadata.generation then
  hs.message = "Waiting for generation to be observed"
  return hs
end
local c = {}
for _, x in ipairs(obj.status.conditions) do
  c[x.type] = x
end
if c.Suspended and c.Suspended.status == "True" then
  hs.status = "Suspended"
  hs.message = c.Suspended.message or ""
elseif c.Stalled and c.Stalled.status == "True" then
  hs.status = "Degraded"
  hs.message = c.Stalled.message or ""
elseif c.Ready and c.Ready.status == "True" then
  hs.status = "Healthy"
  hs.message = c.Ready.message or ""
elseif c.Ready then
  hs.message = c.Ready.message or ""
end
return hs
