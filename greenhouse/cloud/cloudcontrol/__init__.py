"""The API Cloud Control, with CloudFormation's handlers for the Greengrass types behind it."""
